// The functions of segmenter.h over the contract and whatever runtime the kit has.
#include "segmenter.h"

#include <exception>
#include <memory>
#include <string>
#include <vector>

#include "edgeseg_contract.h"
#include "runtime.hpp"

static_assert(SEGMENTER_RGB == int(EDGESEG_RGB) && SEGMENTER_BANDS == int(EDGESEG_BANDS)
        && SEGMENTER_GREY16 == int(EDGESEG_GREY16),
    "both headers are of one kit");

struct segmenter {
    std::unique_ptr<Runtime> runtime;
    std::unique_ptr<edgeseg_work> work = std::make_unique<edgeseg_work>();
    std::vector<float> input = std::vector<float>(EDGESEG_IMAGE_SIZE);
    std::vector<float> output = std::vector<float>(EDGESEG_MASK_SIZE);
};

namespace {

thread_local std::string last_error;

int failed(int code, const std::string& reason)
{
    last_error = reason;
    return code;
}

/// Of the contract's codes.
int refused(int code)
{
    switch (code) {
    case EDGESEG_MISSING: return failed(SEGMENTER_BAD_ARGUMENT, "A pointer is NULL.");
    case EDGESEG_BAD_FORMAT:
        return failed(SEGMENTER_BAD_ARGUMENT,
            "The network takes no pictures of this format. Give SEGMENTER_BANDS.");
    case EDGESEG_NOT_FINITE:
        return failed(SEGMENTER_FAILED, "The network gives NaN or infinity for this picture.");
    default:
        return failed(SEGMENTER_BAD_ARGUMENT,
            "A side of the picture is below 1 or above " + std::to_string(EDGESEG_LONGEST_SIDE)
                + ", or row_bytes is less than a row.");
    }
}

}  // namespace

extern "C" int segmenter_open(const char* model_folder, int threads, segmenter** made)
{
    if (!model_folder || !made) return failed(SEGMENTER_BAD_ARGUMENT, "A pointer is NULL.");
    *made = nullptr;
    if (threads < 1) return failed(SEGMENTER_BAD_ARGUMENT, "Give one thread or more.");
    try {
        auto network = std::make_unique<segmenter>();
        network->runtime = open_runtime(model_folder, threads);
        *made = network.release();
        return SEGMENTER_OK;
    } catch (const BadModel& error) {
        return failed(SEGMENTER_BAD_MODEL, error.what());
    } catch (const NoMachine& error) {
        return failed(SEGMENTER_NO_MACHINE, error.what());
    } catch (const std::exception& error) {
        return failed(SEGMENTER_FAILED, std::string("The model does not load: ") + error.what());
    }
}

extern "C" int segmenter_run(segmenter* network, const void* pixels, int format, int height,
    int width, size_t row_bytes, uint8_t* labels, float* probabilities)
{
    if (!network) return refused(EDGESEG_MISSING);
    const int taken = edgeseg_prepare(
        network->work.get(), pixels, format, height, width, row_bytes, network->input.data());
    if (taken != EDGESEG_OK) return refused(taken);
    try {
        network->runtime->run(network->input.data(), network->output.data());
    } catch (const std::exception& error) {
        return failed(SEGMENTER_FAILED, std::string("The network does not run: ") + error.what());
    }
    const int given = edgeseg_restore(
        network->work.get(), network->output.data(), height, width, labels, probabilities);
    return given == EDGESEG_OK ? SEGMENTER_OK : refused(given);
}

extern "C" void segmenter_close(segmenter* network) { delete network; }

extern "C" const char* segmenter_class_name(int label) { return edgeseg_class_name(label); }

extern "C" const char* segmenter_last_error(void) { return last_error.c_str(); }
