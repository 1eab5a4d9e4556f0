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

/// Whether the kit holds a graph, of which engines are built; else it holds an engine.
constexpr bool can_build_engine = !@ENGINE_IS_BUILT@;

/// The engine of the kit, or that which was kept beside the graph in `folder`, or a new one.
std::vector<char> load_or_build_engine(const std::string& folder, Messages& messages);

/// An engine of the graph in `folder`, which takes minutes; it is kept there as model.engine.
std::vector<char> build_engine_anew(const std::string& folder, Messages& messages);
