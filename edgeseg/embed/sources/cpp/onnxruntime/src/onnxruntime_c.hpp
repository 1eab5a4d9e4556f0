// What this kit calls of ONNX Runtime's C interface, in our own words: packages of ONNX Runtime bring
// the library without headers. The interface is a table of functions whose places never change; new
// ones are added at its end.
#pragma once
#include <cstddef>
#include <cstdint>

struct OrtEnv;
struct OrtStatus;
struct OrtSession;
struct OrtSessionOptions;
struct OrtMemoryInfo;
struct OrtValue;

constexpr std::uint32_t ort_version = 16;  // of the interface: ONNX Runtime 1.16 and later
constexpr int ort_errors_only = 3;         // a level of logging
constexpr int ort_float = 1;               // a type of elements
constexpr int ort_arena = 1;               // an allocator
constexpr int ort_default_memory = 0;

struct OrtApi {
    void (*places[131])();
};

struct OrtApiBase {
    const OrtApi* (*get_api)(std::uint32_t version);
    const char* (*version_text)();
};

/// A function by its place in the table.
template <std::size_t place, typename Function>
struct OrtFunction {
    static Function* of(const OrtApi* api)
    {
        return reinterpret_cast<Function*>(api->places[place]);
    }
};

// Those that can fail return a status, which is null where they did not.
using OrtGetErrorMessage = OrtFunction<2, const char*(const OrtStatus*)>;
using OrtCreateEnv = OrtFunction<3, OrtStatus*(int level, const char* name, OrtEnv** made)>;
using OrtDisableTelemetry = OrtFunction<6, OrtStatus*(const OrtEnv*)>;
/// The bytes may go as soon as it returns.
using OrtCreateSession = OrtFunction<8,
    OrtStatus*(const OrtEnv*, const void* bytes, std::size_t size, const OrtSessionOptions*,
        OrtSession** made)>;
using OrtRun = OrtFunction<9,
    OrtStatus*(OrtSession*, const void* options, const char* const* input_names,
        const OrtValue* const* inputs, std::size_t input_count, const char* const* output_names,
        std::size_t output_count, OrtValue** outputs)>;
using OrtCreateSessionOptions = OrtFunction<10, OrtStatus*(OrtSessionOptions** made)>;
using OrtSetOptimization = OrtFunction<23, OrtStatus*(OrtSessionOptions*, int level)>;
using OrtSetThreadsWithin = OrtFunction<24, OrtStatus*(OrtSessionOptions*, int threads)>;
using OrtSetThreadsBetween = OrtFunction<25, OrtStatus*(OrtSessionOptions*, int threads)>;
/// The floats are the caller's, and stay.
using OrtCreateTensor = OrtFunction<49,
    OrtStatus*(const OrtMemoryInfo*, void* floats, std::size_t bytes, const std::int64_t* shape,
        std::size_t rank, int type, OrtValue** made)>;
using OrtCreateCpuMemoryInfo = OrtFunction<69, OrtStatus*(int allocator, int memory,
                                                   OrtMemoryInfo** made)>;
using OrtReleaseEnv = OrtFunction<92, void(OrtEnv*)>;
using OrtReleaseStatus = OrtFunction<93, void(OrtStatus*)>;
using OrtReleaseMemoryInfo = OrtFunction<94, void(OrtMemoryInfo*)>;
using OrtReleaseSession = OrtFunction<95, void(OrtSession*)>;
using OrtReleaseValue = OrtFunction<96, void(OrtValue*)>;
using OrtReleaseSessionOptions = OrtFunction<100, void(OrtSessionOptions*)>;
using OrtAddSessionSetting = OrtFunction<130, OrtStatus*(OrtSessionOptions*, const char* name,
                                                  const char* value)>;
