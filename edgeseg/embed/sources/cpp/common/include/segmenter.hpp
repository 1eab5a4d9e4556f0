// The network for C++: errors are exceptions, and the handle closes itself.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "segmenter.h"

namespace edgeseg {

struct Mask {
    int height = 0, width = 0;
    std::vector<std::uint8_t> labels;  // the class of each pixel, row by row
    std::vector<float> probabilities;  // SEGMENTER_PLANES planes; empty where not asked for
};

class Segmenter {
public:
    /// Throws std::runtime_error with what to do.
    explicit Segmenter(const std::string& model_folder, int threads = 1)
    {
        segmenter* made = nullptr;
        check(segmenter_open(model_folder.c_str(), threads, &made));
        network_.reset(made);
    }

    /// The mask of an upright picture; `row_bytes` is 0 where rows have no gaps.
    Mask run(const void* pixels, segmenter_format format, int height, int width,
        std::size_t row_bytes = 0, bool with_probabilities = false)
    {
        if (height < 1 || width < 1) throw std::runtime_error("a picture has no pixels");
        const std::size_t size = static_cast<std::size_t>(height) * static_cast<std::size_t>(width);
        Mask mask{height, width, std::vector<std::uint8_t>(size), {}};
        if (with_probabilities) mask.probabilities.resize(size * SEGMENTER_PLANES);
        check(segmenter_run(network_.get(), pixels, format, height, width, row_bytes,
            mask.labels.data(), with_probabilities ? mask.probabilities.data() : nullptr));
        return mask;
    }

private:
    struct Close {
        void operator()(segmenter* network) const { segmenter_close(network); }
    };

    static void check(int code)
    {
        if (code != SEGMENTER_OK) throw std::runtime_error(segmenter_last_error());
    }

    std::unique_ptr<segmenter, Close> network_;
};

}  // namespace edgeseg
