// A stand-in for CUDA's header, written by hand for tests: the memory of the GPU is the process's.
#pragma once
#include <cstddef>
#include <cstdlib>
#include <cstring>

typedef int cudaError_t;
enum { cudaSuccess = 0 };
enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2 };
typedef struct CUstream_st* cudaStream_t;

inline const char* cudaGetErrorString(cudaError_t) { return "out of memory"; }
inline cudaError_t cudaGetDeviceCount(int* count)
{
    *count = std::getenv("STUB_NO_GPU") ? 0 : 1;
    return cudaSuccess;
}
inline cudaError_t cudaMalloc(void** address, std::size_t bytes)
{
    if (std::getenv("STUB_NO_MEMORY")) return 2;
    *address = std::malloc(bytes);
    return cudaSuccess;
}
inline cudaError_t cudaFree(void* address)
{
    std::free(address);
    return cudaSuccess;
}
inline cudaError_t cudaStreamCreate(cudaStream_t* stream)
{
    *stream = nullptr;
    return cudaSuccess;
}
inline cudaError_t cudaStreamDestroy(cudaStream_t) { return cudaSuccess; }
inline cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
inline cudaError_t cudaMemcpyAsync(void* to, const void* of, std::size_t bytes, cudaMemcpyKind,
    cudaStream_t)
{
    std::memcpy(to, of, bytes);
    return cudaSuccess;
}
