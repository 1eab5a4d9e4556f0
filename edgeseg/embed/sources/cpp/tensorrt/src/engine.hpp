// The engine: what TensorRT makes of the graph for one version and one GPU.
#pragma once
#include <NvInfer.h>

#include <string>
#include <vector>

/// Keeps what TensorRT complains of.
class Messages : public nvinfer1::ILogger {
public:
    void log(Severity severity, const char* message) noexcept override
    {
        if (severity <= Severity::kERROR) last_ = message;
    }
    std::string reason() const { return last_.empty() ? "it names no reason" : last_; }

private:
    std::string last_;
};

/// The engine of the kit, or of the graph in `folder`: it is built once, for minutes, and kept
/// beside the graph as model.engine. Remove that file after an update of TensorRT.
std::vector<char> load_or_build_engine(const std::string& folder, Messages& messages);
