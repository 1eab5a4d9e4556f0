// The network in ONNX Runtime, on the CPU.
#include "runtime.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "edgeseg_contract.h"
#include "model_files.hpp"
#include "onnxruntime_c.hpp"

namespace {

/// The table of functions. The library stays loaded until the program ends.
const OrtApi* load_api()
{
    setenv("ORT_DISABLE_TELEMETRY", "1", 0);
    void* library = dlopen(ONNXRUNTIME_LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!library) throw NoMachine(std::string("ONNX Runtime does not load: ") + dlerror());
    const auto base = reinterpret_cast<const OrtApiBase* (*)()>(dlsym(library, "OrtGetApiBase"));
    const OrtApi* api = base ? base()->get_api(ort_version) : nullptr;
    if (!api)
        throw NoMachine(ONNXRUNTIME_LIBRARY " is no ONNX Runtime of version 1.16 or later. Update "
                                            "it with `pip install --upgrade onnxruntime`.");
    return api;
}

class OnnxRuntime : public Runtime {
public:
    OnnxRuntime(const std::string& folder, int threads) : api_(load_api())
    {
        const Bytes content = read_model_file(folder, @MODEL@);
        check(OrtCreateEnv::of(api_)(ort_errors_only, "segmenter", &environment_.handle));
        check(OrtDisableTelemetry::of(api_)(environment_.handle));
        Owned<OrtSessionOptions, OrtReleaseSessionOptions> options{api_};
        check(OrtCreateSessionOptions::of(api_)(&options.handle));
        check(OrtSetOptimization::of(api_)(options.handle, @OPTIMIZATION@));
        check(OrtSetThreadsWithin::of(api_)(options.handle, threads));
        check(OrtSetThreadsBetween::of(api_)(options.handle, 1));
        // Threads that wait by spinning starve their neighbours on a busy device.
        check(OrtAddSessionSetting::of(api_)(
            options.handle, "session.intra_op.allow_spinning", "0"));
        check(OrtCreateSession::of(api_)(environment_.handle, content.data(), content.size(),
            options.handle, &session_.handle));
        check(OrtCreateCpuMemoryInfo::of(api_)(ort_arena, ort_default_memory, &memory_.handle));
        make_tensor(input_, {1, EDGESEG_IMAGE_CHANNELS, EDGESEG_IMAGE_HEIGHT, EDGESEG_IMAGE_WIDTH},
            input_tensor_.handle);
        make_tensor(output_, {1, EDGESEG_MASK_CHANNELS, EDGESEG_MASK_HEIGHT, EDGESEG_MASK_WIDTH},
            output_tensor_.handle);
    }

    void run(const float* input, float* output) override
    {
        static const char* const inputs[] = {@INPUT@};
        static const char* const outputs[] = {@OUTPUT@};
        std::copy_n(input, input_.size(), input_.begin());
        const OrtValue* const given[] = {input_tensor_.handle};
        check(OrtRun::of(api_)(session_.handle, nullptr, inputs, given, 1, outputs, 1,
            &output_tensor_.handle));
        std::copy(output_.begin(), output_.end(), output);
    }

private:
    /// A handle that is released by its own function.
    template <typename Handle, typename Release>
    struct Owned {
        explicit Owned(const OrtApi* table) : api(table) {}
        ~Owned()
        {
            if (handle) Release::of(api)(handle);
        }
        Owned(const Owned&) = delete;
        Owned& operator=(const Owned&) = delete;

        const OrtApi* api;
        Handle* handle = nullptr;
    };

    void check(OrtStatus* status) const
    {
        if (!status) return;
        const std::string reason = OrtGetErrorMessage::of(api_)(status);
        OrtReleaseStatus::of(api_)(status);
        throw std::runtime_error(reason);
    }

    void make_tensor(
        std::vector<float>& floats, const std::vector<std::int64_t>& shape, OrtValue*& made) const
    {
        check(OrtCreateTensor::of(api_)(memory_.handle, floats.data(),
            floats.size() * sizeof(float), shape.data(), shape.size(), ort_float, &made));
    }

    const OrtApi* api_;
    std::vector<float> input_ = std::vector<float>(EDGESEG_IMAGE_SIZE);
    std::vector<float> output_ = std::vector<float>(EDGESEG_MASK_SIZE);
    // Members are released from the last to the first.
    Owned<OrtEnv, OrtReleaseEnv> environment_{api_};
    Owned<OrtSession, OrtReleaseSession> session_{api_};
    Owned<OrtMemoryInfo, OrtReleaseMemoryInfo> memory_{api_};
    Owned<OrtValue, OrtReleaseValue> input_tensor_{api_}, output_tensor_{api_};
};

}  // namespace

std::unique_ptr<Runtime> open_runtime(const std::string& folder, int threads)
{
    return std::make_unique<OnnxRuntime>(folder, threads);
}
