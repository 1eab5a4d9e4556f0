/* What NativeEngine.kt calls: opens the network's library for this processor, and runs it. */
#define _GNU_SOURCE /* for the C library of Linux, where this file is tested */
#include <dlfcn.h>
#include <jni.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>

#include "@HEADER@"

#define JAVA(RESULT, FUNCTION) \
    JNIEXPORT RESULT JNICALL Java_@JAVA_PACKAGE@_NativeEngine_##FUNCTION

/* Of the processor, as the system tells them for ARM64. */
#define PRODUCTS_OF_BYTES (1UL << 20)

struct library {
    const char *file;
    const char *weights;
    unsigned long needs;
};

/* The best of a processor first. */
static const struct library LIBRARIES[] = {
#if defined(__aarch64__)
@ARM64_LIBRARIES@
#elif defined(__x86_64__)
@X86_64_LIBRARIES@
#endif
    {NULL, NULL, 0},
};

/* An open network. */
struct engine {
    void *library, *memory, *weights;
    @PREFIX@_network *network;
    __typeof__(@PREFIX@_run_pixels) *run_pixels;
    __typeof__(@PREFIX@_destroy) *destroy;
    __typeof__(@PREFIX@_error_text) *error_text;
};

static void throw(JNIEnv *env, const char *class, const char *message)
{
    jclass found = (*env)->FindClass(env, class);
    if (found)
        (*env)->ThrowNew(env, found, message);
}

static void throw_file(JNIEnv *env, const char *what, const char *why)
{
    char message[512];
    snprintf(message, sizeof message, "%s: %s. Build the app again from the whole kit.", what, why);
    throw(env, "java/io/IOException", message);
}

/* The first that this processor can run; NULL where there is none, and an exception is thrown. */
static const struct library *choose(JNIEnv *env)
{
    const unsigned long has = getauxval(AT_HWCAP);
    for (const struct library *one = LIBRARIES; one->file; one++)
        if ((one->needs & ~has) == 0)
            return one;
    throw_file(env, "edgeseg", "the kit has no library for this processor");
    return NULL;
}

static void close_engine(struct engine *engine)
{
    if (engine->network)
        engine->destroy(engine->network);
    free(engine->memory);
    free(engine->weights);
    if (engine->library)
        dlclose(engine->library);
    free(engine);
}

/* A copy of the array, aligned as the library wants it; NULL where there is no memory. */
static void *aligned_copy(JNIEnv *env, jbyteArray bytes, size_t size)
{
    void *copy = NULL;
    if (posix_memalign(&copy, 64, size) == 0)
        (*env)->GetByteArrayRegion(env, bytes, 0, (jsize)size, copy);
    return copy;
}

/* Fill the engine; false where an exception is thrown. */
static int open_engine(
    JNIEnv *env, struct engine *engine, const struct library *chosen, jbyteArray weights)
{
    const size_t size = (size_t)(*env)->GetArrayLength(env, weights);
    engine->library = dlopen(chosen->file, RTLD_NOW | RTLD_LOCAL);
    if (!engine->library) {
        throw_file(env, chosen->file, dlerror());
        return 0;
    }
    __typeof__(@PREFIX@_memory_bytes) *memory_bytes;
    __typeof__(@PREFIX@_create) *create;
    /* A pointer to data becomes one to a function by way of its bytes, as POSIX has it. */
    *(void **)&memory_bytes = dlsym(engine->library, "@PREFIX@_memory_bytes");
    *(void **)&create = dlsym(engine->library, "@PREFIX@_create");
    *(void **)&engine->run_pixels = dlsym(engine->library, "@PREFIX@_run_pixels");
    *(void **)&engine->destroy = dlsym(engine->library, "@PREFIX@_destroy");
    *(void **)&engine->error_text = dlsym(engine->library, "@PREFIX@_error_text");
    if (!memory_bytes || !create || !engine->run_pixels || !engine->destroy ||
        !engine->error_text) {
        throw_file(env, chosen->file, "it is another library");
        return 0;
    }
    const size_t memory = memory_bytes(1);
    engine->weights = aligned_copy(env, weights, size);
    if (!engine->weights || posix_memalign(&engine->memory, 64, memory) != 0) {
        throw(env, "java/lang/OutOfMemoryError", "The network does not fit into memory.");
        return 0;
    }
    const int code = create(engine->memory, memory, 1, engine->weights, size, &engine->network);
    if (code != @PREFIX_UPPER@_OK)
        throw_file(env, chosen->weights, engine->error_text(code));
    return code == @PREFIX_UPPER@_OK;
}

JAVA(jstring, weightsFile)(JNIEnv *env, jobject self)
{
    (void)self;
    const struct library *chosen = choose(env);
    return chosen ? (*env)->NewStringUTF(env, chosen->weights) : NULL;
}

JAVA(jlong, create)(JNIEnv *env, jobject self, jbyteArray weights)
{
    (void)self;
    const struct library *chosen = choose(env);
    if (!chosen)
        return 0;
    struct engine *engine = calloc(1, sizeof *engine);
    if (engine && open_engine(env, engine, chosen, weights))
        return (jlong)(intptr_t)engine;
    if (engine)
        close_engine(engine);
    else
        throw(env, "java/lang/OutOfMemoryError", "The network does not fit into memory.");
    return 0;
}

JAVA(void, compute)(JNIEnv *env, jobject self, jlong handle, jintArray argb, jint width,
    jint height, jbyteArray labels)
{
    (void)self;
    struct engine *engine = (struct engine *)(intptr_t)handle;
    jint *colours = (*env)->GetIntArrayElements(env, argb, NULL);
    jbyte *found = colours ? (*env)->GetByteArrayElements(env, labels, NULL) : NULL;
    if (found) {
        /* In memory the bytes of 0xAARRGGBB are blue, green, red, alpha. */
        const int code = engine->run_pixels(engine->network, colours, @PREFIX_UPPER@_BGRA, height,
            width, 0, (uint8_t *)found, NULL);
        (*env)->ReleaseByteArrayElements(env, labels, found, 0);
        if (code != @PREFIX_UPPER@_OK)
            throw(env, "java/lang/IllegalStateException", engine->error_text(code));
    }
    if (colours)
        (*env)->ReleaseIntArrayElements(env, argb, colours, JNI_ABORT);
}

JAVA(void, destroy)(JNIEnv *env, jobject self, jlong handle)
{
    (void)env;
    (void)self;
    close_engine((struct engine *)(intptr_t)handle);
}
