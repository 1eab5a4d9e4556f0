// Needs the Android Gradle plugin 9, which brings Kotlin. With 8, add
// id("org.jetbrains.kotlin.android") to the plugins.
plugins {
    id("com.android.library")
}

android {
    namespace = "@PACKAGE@"
    compileSdk = 36

    defaultConfig {
        minSdk = @MIN_SDK@ // what LiteRT asks for; it has libraries for phones of 64 bits only
        testInstrumentationRunner = "androidx.test.runner.AndroidJUnitRunner"
    }

    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_17
        targetCompatibility = JavaVersion.VERSION_17
    }

    // The golden picture is for tests; the app does not carry it.
    sourceSets {
        named("test") { resources.srcDir("golden") }
        named("androidTest") { assets.srcDir("golden") }
    }
}

dependencies {
    implementation("com.google.ai.edge.litert:litert:2.3.0")
    implementation("androidx.annotation:annotation:1.9.1")
    testImplementation("junit:junit:4.13.2")
    androidTestImplementation("androidx.test:runner:1.6.2")
    androidTestImplementation("androidx.test.ext:junit:1.2.1")
}
