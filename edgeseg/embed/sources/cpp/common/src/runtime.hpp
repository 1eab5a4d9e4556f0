// What computes the network: prepared floats in, probabilities out.
#pragma once
#include <memory>
#include <stdexcept>
#include <string>

class Runtime {
public:
    virtual ~Runtime() = default;

    /// `input` has EDGESEG_IMAGE_SIZE floats, `output` EDGESEG_MASK_SIZE. Throws std::exception.
    virtual void run(const float* input, float* output) = 0;
};

/// Loads the network. Throws BadModel, NoMachine or another std::exception.
std::unique_ptr<Runtime> open_runtime(const std::string& folder, int threads);

struct BadModel : std::runtime_error {
    using std::runtime_error::runtime_error;
};

struct NoMachine : std::runtime_error {
    using std::runtime_error::runtime_error;
};
