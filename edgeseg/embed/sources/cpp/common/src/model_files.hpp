// The files of the model, which are compared with what was built before they are used.
#pragma once
#include <cstddef>
#include <memory>
#include <new>
#include <string>

/// Bytes at a multiple of 64.
class Bytes {
public:
    explicit Bytes(std::size_t size)
        : data_(static_cast<unsigned char*>(::operator new(size + 1, std::align_val_t{64}))),
          size_(size)
    {
    }

    unsigned char* data() const { return data_.get(); }
    std::size_t size() const { return size_; }

private:
    struct Free {
        void operator()(unsigned char* data) const
        {
            ::operator delete(data, std::align_val_t{64});
        }
    };

    std::unique_ptr<unsigned char, Free> data_;
    std::size_t size_;
};

/// The content of a file of the model. Throws BadModel where it is missing or was changed.
Bytes read_model_file(const std::string& folder, const std::string& name);
