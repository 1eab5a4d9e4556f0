// A stand-in for TensorRT's header, written by hand for tests: the functions that kits call. Its
// "engine" is the graph itself, and a run copies the first plane of the image, divided by 255.
#pragma once
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#define NV_TENSORRT_MAJOR 10

namespace nvinfer1 {

class ILogger {
public:
    enum class Severity : int32_t { kINTERNAL_ERROR, kERROR, kWARNING, kINFO, kVERBOSE };
    virtual void log(Severity severity, char const* message) noexcept = 0;
    virtual ~ILogger() = default;
};

class IExecutionContext {
public:
    bool setTensorAddress(char const* name, void* address) noexcept
    {
        addresses_[name] = static_cast<float*>(address);
        return name == std::string("image") || name == std::string("mask");
    }
    bool enqueueV3(cudaStream_t) noexcept
    {
        if (std::getenv("STUB_RUN_FAILS")) return false;
        for (int i = 0; i < STUB_PIXELS; ++i) addresses_["mask"][i] = addresses_["image"][i] / 255.0f;
        return true;
    }

private:
    std::map<std::string, float*> addresses_;
};

class ICudaEngine {
public:
    IExecutionContext* createExecutionContext() noexcept { return new IExecutionContext; }
};

class IRuntime {
public:
    explicit IRuntime(ILogger& logger) : logger_(logger) {}
    ICudaEngine* deserializeCudaEngine(void const* content, std::size_t size) noexcept
    {
        const bool is_old = std::string(static_cast<const char*>(content), size) == "old";
        if (!is_old && !std::getenv("STUB_OTHER_VERSION")) return new ICudaEngine;
        logger_.log(ILogger::Severity::kERROR, "the engine is of another version");
        return nullptr;
    }

private:
    ILogger& logger_;
};

inline IRuntime* createInferRuntime(ILogger& logger) { return new IRuntime(logger); }

using NetworkDefinitionCreationFlags = uint32_t;
enum class NetworkDefinitionCreationFlag : int32_t { kEXPLICIT_BATCH, kSTRONGLY_TYPED };
enum class MemoryPoolType : int32_t { kWORKSPACE };
enum class BuilderFlag : int32_t { kFP16, kTF32 };

class INetworkDefinition {
public:
    std::vector<char> graph;
};

class IBuilderConfig {
public:
    void setMemoryPoolLimit(MemoryPoolType, std::size_t bytes) noexcept { workspace = bytes; }
    void clearFlag(BuilderFlag) noexcept {}
    std::size_t workspace = 0;
};

class IHostMemory {
public:
    explicit IHostMemory(std::vector<char> content) : content_(std::move(content)) {}
    void* data() const noexcept { return const_cast<char*>(content_.data()); }
    std::size_t size() const noexcept { return content_.size(); }

private:
    std::vector<char> content_;
};

class IBuilder {
public:
    INetworkDefinition* createNetworkV2(NetworkDefinitionCreationFlags) noexcept
    {
        return new INetworkDefinition;
    }
    IBuilderConfig* createBuilderConfig() noexcept { return new IBuilderConfig; }
    IHostMemory* buildSerializedNetwork(INetworkDefinition& network, IBuilderConfig& config) noexcept
    {
        return config.workspace > 0 ? new IHostMemory(network.graph) : nullptr;
    }
};

inline IBuilder* createInferBuilder(ILogger&) { return new IBuilder; }

}  // namespace nvinfer1
