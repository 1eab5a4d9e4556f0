#include "engine.hpp"

#include <cstdio>
#include <fstream>
#include <iterator>
#include <memory>

#include "model_files.hpp"
#include "runtime.hpp"

#if !@ENGINE_IS_BUILT@
#include <NvOnnxParser.h>

namespace {

std::vector<char> build_engine(const Bytes& graph, Messages& messages)
{
    const std::unique_ptr<nvinfer1::IBuilder> builder(nvinfer1::createInferBuilder(messages));
    if (!builder) throw std::runtime_error("TensorRT does not start: " + messages.reason());
    // The graph's types say what is computed in; later versions know no other networks.
    nvinfer1::NetworkDefinitionCreationFlags flags = 0;
#if NV_TENSORRT_MAJOR < 11
    flags |= 1U << static_cast<unsigned>(nvinfer1::NetworkDefinitionCreationFlag::kSTRONGLY_TYPED);
#endif
    const std::unique_ptr<nvinfer1::INetworkDefinition> network(builder->createNetworkV2(flags));
    const std::unique_ptr<nvonnxparser::IParser> parser(
        nvonnxparser::createParser(*network, messages));
    if (!parser->parse(graph.data(), graph.size()))
        throw BadModel("TensorRT refuses the graph: " + messages.reason());
    const std::unique_ptr<nvinfer1::IBuilderConfig> config(builder->createBuilderConfig());
    config->setMemoryPoolLimit(
        nvinfer1::MemoryPoolType::kWORKSPACE, static_cast<std::size_t>(@WORKSPACE_MB@) << 20);
    config->clearFlag(nvinfer1::BuilderFlag::kTF32);  // float32 is meant where it stands
    const std::unique_ptr<nvinfer1::IHostMemory> engine(
        builder->buildSerializedNetwork(*network, *config));
    if (!engine)
        throw std::runtime_error("TensorRT does not build the engine: " + messages.reason()
            + ". If memory is short, close other programs.");
    const char* content = static_cast<const char*>(engine->data());
    return {content, content + engine->size()};
}

/// Under another name until it is whole.
void keep(const std::string& path, const std::vector<char>& engine)
{
    const std::string partial = path + ".partial";
    std::ofstream file(partial, std::ios::binary);
    file.write(engine.data(), static_cast<std::streamsize>(engine.size()));
    file.close();
    if (!file || std::rename(partial.c_str(), path.c_str()) != 0)
        throw std::runtime_error("The engine cannot be kept as " + path
            + ". Copy the folder `model` to where it can be written.");
}

}  // namespace

std::vector<char> build_engine_anew(const std::string& folder, Messages& messages)
{
    if (@DLA_CORE@ >= 0)
        throw NoMachine("The bundle was built for a DLA core, which the Python package uses and "
                        "this program does not. Build it without --option dla_core.");
    const std::vector<char> engine = build_engine(read_model_file(folder, "model.onnx"), messages);
    keep(folder + "/model.engine", engine);
    return engine;
}

std::vector<char> load_or_build_engine(const std::string& folder, Messages& messages)
{
    std::ifstream file(folder + "/model.engine", std::ios::binary);
    if (file) return {std::istreambuf_iterator<char>(file), {}};
    return build_engine_anew(folder, messages);
}
#else
std::vector<char> build_engine_anew(const std::string&, Messages&)
{
    throw BadModel("The kit holds no graph.");
}

std::vector<char> load_or_build_engine(const std::string& folder, Messages&)
{
    const Bytes content = read_model_file(folder, "model.engine");
    const char* first = reinterpret_cast<const char*>(content.data());
    return {first, first + content.size()};
}
#endif
