// The network in OpenVINO.
#include "runtime.hpp"

#include <algorithm>
#include <openvino/openvino.hpp>
#include <string>
#include <vector>

#include "edgeseg_contract.h"
#include "model_files.hpp"

namespace {

const char* const device = @DEVICE@;
const char* const precision = @PRECISION@;

class OpenVino : public Runtime {
public:
    OpenVino(const std::string& folder, int threads)
        : weights_(read_model_file(folder, @WEIGHTS@))
    {
        const Bytes text = read_model_file(folder, @MODEL@);
        ov::Core core;
        if (precision == std::string("bf16")) {
            const auto able = core.get_property(device, ov::device::capabilities);
            if (std::find(able.begin(), able.end(), "BF16") == able.end())
                throw NoMachine("This CPU has no BF16 instructions. Build the bundle in FP32.");
        }
        const ov::Tensor weights(ov::element::u8, {weights_.size()}, weights_.data());
        const auto model = core.read_model(
            std::string(reinterpret_cast<const char*>(text.data()), text.size()), weights);
        // Without a precision, OpenVINO takes BF16 where the CPU has it, and masks change.
        const ov::AnyMap settings = {
            {ov::hint::inference_precision.name(), precision},
            {ov::hint::performance_mode.name(), ov::hint::PerformanceMode::LATENCY},
            {ov::hint::enable_cpu_pinning.name(), false},
            {ov::num_streams.name(), @STREAMS@},
            {ov::inference_num_threads.name(), threads},
        };
        request_ = core.compile_model(model, device, settings).create_infer_request();
        const ov::Shape mask = request_.get_output_tensor().get_shape();
        if (ov::shape_size(request_.get_input_tensor().get_shape()) != EDGESEG_IMAGE_SIZE
            || ov::shape_size(mask) != EDGESEG_MASK_SIZE)
            throw BadModel("The model is of another kit. Copy the folder `model` again.");
    }

    void run(const float* input, float* output) override
    {
        std::copy_n(input, EDGESEG_IMAGE_SIZE, request_.get_input_tensor().data<float>());
        request_.infer();
        std::copy_n(request_.get_output_tensor().data<const float>(), EDGESEG_MASK_SIZE, output);
    }

private:
    Bytes weights_;  // the model points into them
    ov::InferRequest request_;
};

}  // namespace

std::unique_ptr<Runtime> open_runtime(const std::string& folder, int threads)
{
    return std::make_unique<OpenVino>(folder, threads);
}
