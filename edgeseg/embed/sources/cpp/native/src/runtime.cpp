// The network as machine code: the best library of the folder `model` for this machine.
#include "runtime.hpp"

#include <dlfcn.h>
#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

#include <string>
#include <thread>
#include <vector>

#include "@PREFIX@.h"
#include "model_files.hpp"

namespace {

struct Variant {
    const char *library, *weights;
    bool runs_here;
};

/// The best first.
std::vector<Variant> variants()
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    return {
@X86_VARIANTS@
    };
#elif defined(__aarch64__)
#if defined(__linux__)
    [[maybe_unused]] const bool has_dot_products = getauxval(AT_HWCAP) >> 20 & 1;
#else
    [[maybe_unused]] const bool has_dot_products = false;
#endif
    return {
@ARM_VARIANTS@
    };
#else
    return {};
#endif
}

Variant choose()
{
    for (const Variant& variant : variants())
        if (variant.runs_here) return variant;
    throw NoMachine("The model has no library for this machine. Build the bundle with --option "
                    "isa=..., which `edgeseg build --help` explains.");
}

class Native : public Runtime {
public:
    Native(const std::string& folder, int threads)
        : variant_(choose()), weights_(read_model_file(folder, variant_.weights)),
          library_(open(folder, variant_.library)), memory_(memory_bytes(threads)),
          threads_(threads)
    {
        check(function<decltype(&@PREFIX@_create)>("create")(memory_.data(), memory_.size(), threads,
            weights_.data(), weights_.size(), &network_));
        run_ = function<decltype(&@PREFIX@_run_thread)>("run_thread");
    }

    void run(const float* input, float* output) override
    {
        // Threads wait for each other at every step: each needs a core of its own.
        std::vector<std::thread> others;
        for (int thread = 1; thread < threads_; ++thread)
            others.emplace_back(run_, network_, thread, input, output);
        const int code = run_(network_, 0, input, output);
        for (std::thread& other : others) other.join();
        check(code);
    }

private:
    struct Close {
        void operator()(void* library) const { dlclose(library); }
    };

    static void* open(const std::string& folder, const char* name)
    {
        read_model_file(folder, name);  // loading a damaged library can end the process
        void* library = dlopen((folder + "/" + name).c_str(), RTLD_NOW | RTLD_LOCAL);
        if (!library) throw std::runtime_error(dlerror());
        return library;
    }

    template <typename Function>
    Function function(const char* name) const
    {
        void* found = dlsym(library_.get(), (std::string("@PREFIX@_") + name).c_str());
        if (!found) throw BadModel(std::string("The library lacks @PREFIX@_") + name + ".");
        return reinterpret_cast<Function>(found);
    }

    std::size_t memory_bytes(int threads) const
    {
        const auto bytes = function<decltype(&@PREFIX@_memory_bytes)>("memory_bytes")(threads);
        if (bytes == 0) throw std::runtime_error("Give fewer threads.");
        return bytes;
    }

    void check(int code) const
    {
        if (code != 0)
            throw std::runtime_error(
                function<decltype(&@PREFIX@_error_text)>("error_text")(code));
    }

    Variant variant_;
    Bytes weights_;
    std::unique_ptr<void, Close> library_;
    Bytes memory_;
    int threads_;
    @PREFIX@_network* network_ = nullptr;  // lies in memory_
    decltype(&@PREFIX@_run_thread) run_ = nullptr;
};

}  // namespace

std::unique_ptr<Runtime> open_runtime(const std::string& folder, int threads)
{
    return std::make_unique<Native>(folder, threads);
}
