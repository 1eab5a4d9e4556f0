// Opens this folder by itself, to run the tests and the sample. An app includes :edgeseg only.
pluginManagement {
    repositories {
        google()
        mavenCentral()
        gradlePluginPortal()
    }
    plugins {
        id("com.android.library") version "9.0.0"
        id("com.android.application") version "9.0.0"
    }
}

dependencyResolutionManagement {
    repositories {
        google()
        mavenCentral()
    }
}

rootProject.name = "edgeseg-@NAME@"
include(":edgeseg", ":sample")
