// The network in LiteRT, on the CPU by XNNPACK.
#include "runtime.hpp"

#include <cstring>
#include <string>
#include <type_traits>

#include "edgeseg_contract.h"
#include "litert_c.h"
#include "model_files.hpp"

namespace {

void check(LiteRtStatus status, const char* what)
{
    if (status != 0)
        throw std::runtime_error(std::string("LiteRT cannot ") + what + " (status "
            + std::to_string(status) + ").");
}

/// A handle that is destroyed by its own function.
template <auto destroy, typename Handle>
class Owned {
public:
    ~Owned()
    {
        if (handle_) destroy(handle_);
    }
    Owned() = default;
    Owned(const Owned&) = delete;
    Owned& operator=(const Owned&) = delete;
    Handle* place() { return &handle_; }
    operator Handle() const { return handle_; }

private:
    Handle handle_ = nullptr;
};

using Buffer = Owned<LiteRtDestroyTensorBuffer, LiteRtTensorBuffer>;

void make_buffer(LiteRtEnvironment environment, int height, int width, int channels, Buffer& made)
{
    LiteRtRankedTensorType type{};
    type.element_type = LITERT_FLOAT32;
    type.layout.rank = 4;
    const int32_t sizes[] = @DIMENSIONS@;
    std::memcpy(type.layout.dimensions, sizes, sizeof sizes);
    const size_t bytes = sizeof(float) * static_cast<size_t>(height) * static_cast<size_t>(width)
        * static_cast<size_t>(channels);
    check(LiteRtCreateManagedTensorBuffer(
              environment, LITERT_HOST_MEMORY, &type, bytes, made.place()),
        "make a tensor");
}

class LiteRt : public Runtime {
public:
    LiteRt(const std::string& folder, int threads) : content_(read_model_file(folder, @MODEL@))
    {
        // Else it looks for GPUs and NPUs, and tells each step on standard error.
        const LiteRtEnvOption settings[] = {
            {LITERT_ACCELERATORS, 0, LITERT_INTEGER, LITERT_CPU},
            {LITERT_LEAST_SEVERITY, 0, LITERT_INTEGER, LITERT_ERRORS_ONLY},
        };
        check(LiteRtCreateEnvironment(2, settings, environment_.place()), "start");
        check(LiteRtCreateModelFromBuffer(
                  environment_, content_.data(), content_.size(), model_.place()),
            "read the model");
        Owned<LiteRtDestroyOptions, LiteRtOptions> options;
        check(LiteRtCreateOptions(options.place()), "make options");
        check(LiteRtSetOptionsHardwareAccelerators(options, LITERT_CPU), "take the CPU");
        // Options of the CPU are a text; without them LiteRT chooses the threads.
        const std::string text = "num_threads = " + std::to_string(threads) + "\n";
        char* payload = new char[text.size() + 1];
        std::memcpy(payload, text.c_str(), text.size() + 1);
        LiteRtOpaqueOptions cpu = nullptr;
        check(LiteRtCreateOpaqueOptions(
                  "xnnpack", payload, [](void* given) { delete[] static_cast<char*>(given); }, &cpu),
            "make options");
        check(LiteRtAddOpaqueOptions(options, cpu), "set the threads");
        check(LiteRtCreateCompiledModel(environment_, model_, options, compiled_.place()),
            "compile the model");
        make_buffer(environment_, EDGESEG_IMAGE_HEIGHT, EDGESEG_IMAGE_WIDTH,
            EDGESEG_IMAGE_CHANNELS, input_);
        make_buffer(environment_, EDGESEG_MASK_HEIGHT, EDGESEG_MASK_WIDTH, EDGESEG_MASK_CHANNELS,
            output_);
    }

    void run(const float* input, float* output) override
    {
        void* place = nullptr;
        check(LiteRtLockTensorBuffer(input_, &place, LITERT_WRITE), "write the image");
        std::memcpy(place, input, sizeof(float) * EDGESEG_IMAGE_SIZE);
        check(LiteRtUnlockTensorBuffer(input_), "write the image");
        check(LiteRtRunCompiledModel(compiled_, 0, 1, input_.place(), 1, output_.place()),
            "run the model");
        check(LiteRtLockTensorBuffer(output_, &place, LITERT_READ), "read the mask");
        std::memcpy(output, place, sizeof(float) * EDGESEG_MASK_SIZE);
        check(LiteRtUnlockTensorBuffer(output_), "read the mask");
    }

private:
    Bytes content_;  // the model points into it; members are destroyed from the last to the first
    Owned<LiteRtDestroyEnvironment, LiteRtEnvironment> environment_;
    Owned<LiteRtDestroyModel, LiteRtModel> model_;
    Owned<LiteRtDestroyCompiledModel, LiteRtCompiledModel> compiled_;
    Buffer input_, output_;
};

}  // namespace

std::unique_ptr<Runtime> open_runtime(const std::string& folder, int threads)
{
    return std::make_unique<LiteRt>(folder, threads);
}
