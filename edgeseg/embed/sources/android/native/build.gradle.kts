// Needs the Android Gradle plugin 9, which brings Kotlin, and the NDK. With 8, add
// id("org.jetbrains.kotlin.android") to the plugins.
plugins {
    id("com.android.library")
}

android {
    namespace = "@PACKAGE@"
    compileSdk = 36

    defaultConfig {
        minSdk = @MIN_SDK@
        testInstrumentationRunner = "androidx.test.runner.AndroidJUnitRunner"
        consumerProguardFiles("consumer-rules.pro")
        ndk { abiFilters += listOf(@ABI_LIST@) }
    }

    externalNativeBuild {
        cmake { path = file("src/main/cpp/CMakeLists.txt") }
    }

    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_17
        targetCompatibility = JavaVersion.VERSION_17
    }

    // The network's libraries stay as they were checked.
    packaging { jniLibs { keepDebugSymbols += "**/libedgeseg_@NAME@_*.so" } }

    // The golden picture is for tests; the app does not carry it.
    sourceSets {
        named("androidTest") { assets.srcDir("golden") }
    }
}

dependencies {
    implementation("androidx.annotation:annotation:1.9.1")
    androidTestImplementation("junit:junit:4.13.2")
    androidTestImplementation("androidx.test:runner:1.6.2")
    androidTestImplementation("androidx.test.ext:junit:1.2.1")
}
