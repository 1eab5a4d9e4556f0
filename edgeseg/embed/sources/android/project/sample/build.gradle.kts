// An app of one screen around :edgeseg.
plugins {
    id("com.android.application")
}

android {
    namespace = "edgeseg.sampleapp"
    compileSdk = 36

    defaultConfig {
        applicationId = "edgeseg.sampleapp"
        minSdk = @MIN_SDK@
        targetSdk = 36
        versionCode = 1
        versionName = "1"
    }

    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_17
        targetCompatibility = JavaVersion.VERSION_17
    }
}

dependencies {
    implementation(project(":edgeseg"))
}
