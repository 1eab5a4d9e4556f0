/* What this kit calls of LiteRT's C interface, version 2.3 and later, in our own words: packages of
 * LiteRT bring the library without headers. */
#ifndef LITERT_C_H
#define LITERT_C_H
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

typedef int LiteRtStatus; /* 0 is success */
typedef struct LiteRtEnvironmentT *LiteRtEnvironment;
typedef struct LiteRtModelT *LiteRtModel;
typedef struct LiteRtOptionsT *LiteRtOptions;
typedef struct LiteRtOpaqueOptionsT *LiteRtOpaqueOptions;
typedef struct LiteRtCompiledModelT *LiteRtCompiledModel;
typedef struct LiteRtTensorBufferT *LiteRtTensorBuffer;

enum { LITERT_CPU = 1 };                     /* an accelerator */
enum { LITERT_FLOAT32 = 1 };                 /* a type of elements */
enum { LITERT_HOST_MEMORY = 1 };             /* where a buffer lies */
enum { LITERT_READ = 0, LITERT_WRITE = 1 };  /* what a buffer is locked for */

typedef struct {
    unsigned int rank : 7, has_strides : 1;
    int32_t dimensions[8];
    uint32_t strides[8];
} LiteRtLayout;

typedef struct {
    int32_t element_type;
    LiteRtLayout layout;
} LiteRtRankedTensorType;

/* A number for the whole environment. */
typedef struct {
    int32_t tag, reserved;
    int32_t type; /* LITERT_INTEGER */
    int64_t value;
} LiteRtEnvOption;

enum { LITERT_INTEGER = 2 };
enum { LITERT_ACCELERATORS = 24, LITERT_LEAST_SEVERITY = 25 }; /* tags */
enum { LITERT_ERRORS_ONLY = 3 };                               /* a severity */

LiteRtStatus LiteRtCreateEnvironment(int count, const LiteRtEnvOption *options,
    LiteRtEnvironment *made);
void LiteRtDestroyEnvironment(LiteRtEnvironment environment);

/* The bytes must stay as long as the model. */
LiteRtStatus LiteRtCreateModelFromBuffer(LiteRtEnvironment environment, const void *bytes,
    size_t size, LiteRtModel *made);
void LiteRtDestroyModel(LiteRtModel model);

LiteRtStatus LiteRtCreateOptions(LiteRtOptions *made);
LiteRtStatus LiteRtSetOptionsHardwareAccelerators(LiteRtOptions options, int accelerators);
LiteRtStatus LiteRtCreateOpaqueOptions(const char *identifier, void *payload,
    void (*free_payload)(void *), LiteRtOpaqueOptions *made);
LiteRtStatus LiteRtAddOpaqueOptions(LiteRtOptions options, LiteRtOpaqueOptions added);
void LiteRtDestroyOptions(LiteRtOptions options);

LiteRtStatus LiteRtCreateCompiledModel(LiteRtEnvironment environment, LiteRtModel model,
    LiteRtOptions options, LiteRtCompiledModel *made);
LiteRtStatus LiteRtRunCompiledModel(LiteRtCompiledModel model, size_t signature,
    size_t input_count, LiteRtTensorBuffer *inputs, size_t output_count,
    LiteRtTensorBuffer *outputs);
void LiteRtDestroyCompiledModel(LiteRtCompiledModel model);

LiteRtStatus LiteRtCreateManagedTensorBuffer(LiteRtEnvironment environment, int memory,
    const LiteRtRankedTensorType *type, size_t bytes, LiteRtTensorBuffer *made);
LiteRtStatus LiteRtLockTensorBuffer(LiteRtTensorBuffer buffer, void **address, int mode);
LiteRtStatus LiteRtUnlockTensorBuffer(LiteRtTensorBuffer buffer);
void LiteRtDestroyTensorBuffer(LiteRtTensorBuffer buffer);

#ifdef __cplusplus
}
#endif
#endif
