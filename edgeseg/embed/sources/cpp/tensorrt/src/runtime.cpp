// The network in TensorRT on the first GPU.
#include "runtime.hpp"

#include <NvInfer.h>
#include <cuda_runtime_api.h>

#include <string>
#include <vector>

#include "edgeseg_contract.h"
#include "engine.hpp"

namespace {

void check(cudaError_t code, const char* what)
{
    if (code != cudaSuccess)
        throw std::runtime_error(
            std::string("The GPU cannot ") + what + ": " + cudaGetErrorString(code) + ".");
}

/// Floats in the GPU's memory.
class DeviceFloats {
public:
    explicit DeviceFloats(std::size_t count) : bytes_(count * sizeof(float))
    {
        check(cudaMalloc(&address_, bytes_), "give memory");
    }
    ~DeviceFloats() { cudaFree(address_); }
    DeviceFloats(const DeviceFloats&) = delete;
    DeviceFloats& operator=(const DeviceFloats&) = delete;

    void* address() const { return address_; }
    std::size_t bytes() const { return bytes_; }

private:
    void* address_ = nullptr;
    std::size_t bytes_;
};

class Stream {
public:
    Stream() { check(cudaStreamCreate(&stream_), "make a stream"); }
    ~Stream() { cudaStreamDestroy(stream_); }
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;
    operator cudaStream_t() const { return stream_; }

private:
    cudaStream_t stream_ = nullptr;
};

class TensorRt : public Runtime {
public:
    explicit TensorRt(const std::string& folder)
        : input_(EDGESEG_IMAGE_SIZE), output_(EDGESEG_MASK_SIZE)
    {
        runtime_.reset(nvinfer1::createInferRuntime(messages_));
        if (!runtime_) throw std::runtime_error("TensorRT does not start: " + messages_.reason());
        load(load_or_build_engine(folder, messages_));
        // After an update of TensorRT, or on another GPU, the kept engine is of no use.
        if (!engine_ && can_build_engine) load(build_engine_anew(folder, messages_));
        if (!engine_)
            throw BadModel("TensorRT does not load the engine, which holds for the version and the "
                           "GPU that it was built with: " + messages_.reason());
        context_.reset(engine_->createExecutionContext());
        if (!context_) throw std::runtime_error("No memory is left: " + messages_.reason());
        if (!context_->setTensorAddress(@INPUT@, input_.address())
            || !context_->setTensorAddress(@OUTPUT@, output_.address()))
            throw BadModel("The engine is of another kit. Build it again.");
    }

    void run(const float* input, float* output) override
    {
        check(cudaMemcpyAsync(
                  input_.address(), input, input_.bytes(), cudaMemcpyHostToDevice, stream_),
            "take the image");
        if (!context_->enqueueV3(stream_))
            throw std::runtime_error("TensorRT does not run: " + messages_.reason());
        check(cudaMemcpyAsync(
                  output, output_.address(), output_.bytes(), cudaMemcpyDeviceToHost, stream_),
            "give the mask");
        check(cudaStreamSynchronize(stream_), "finish");
    }

private:
    void load(const std::vector<char>& content)
    {
        engine_.reset(runtime_->deserializeCudaEngine(content.data(), content.size()));
    }

    // Members are destroyed from the last to the first.
    Messages messages_;
    Stream stream_;
    DeviceFloats input_, output_;
    std::unique_ptr<nvinfer1::IRuntime> runtime_;
    std::unique_ptr<nvinfer1::ICudaEngine> engine_;
    std::unique_ptr<nvinfer1::IExecutionContext> context_;
};

}  // namespace

std::unique_ptr<Runtime> open_runtime(const std::string& folder, int)
{
    int gpus = 0;
    if (cudaGetDeviceCount(&gpus) != cudaSuccess || gpus == 0)
        throw NoMachine("There is no NVIDIA GPU here. Run it on the device.");
    return std::make_unique<TensorRt>(folder);
}
