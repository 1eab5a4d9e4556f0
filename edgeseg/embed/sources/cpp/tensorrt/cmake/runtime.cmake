# TensorRT or TensorRT-RTX, and CUDA: JetPack brings both. Elsewhere give -DTENSORRT_ROOT=..., a
# folder with `include` and `lib`.
find_package(CUDAToolkit REQUIRED)
set(tensorrt_package "@PACKAGE@")
if(tensorrt_package STREQUAL "tensorrt_rtx")
  set(tensorrt_libraries tensorrt_rtx)
else()
  set(tensorrt_libraries nvinfer nvonnxparser)
endif()
find_path(TENSORRT_INCLUDE NvInfer.h HINTS ${TENSORRT_ROOT} PATH_SUFFIXES include
  aarch64-linux-gnu)
if(NOT TENSORRT_INCLUDE)
  message(FATAL_ERROR "NvInfer.h was not found. On a Jetson: sudo apt install libnvinfer-dev "
    "libnvonnxparsers-dev. Elsewhere give -DTENSORRT_ROOT=...")
endif()
target_include_directories(segmenter PRIVATE ${TENSORRT_INCLUDE})
foreach(name ${tensorrt_libraries})
  find_library(${name}_library ${name} HINTS ${TENSORRT_ROOT} PATH_SUFFIXES lib
    aarch64-linux-gnu)
  if(NOT ${name}_library)
    message(FATAL_ERROR "The library ${name} was not found. Give -DTENSORRT_ROOT=...")
  endif()
  target_link_libraries(segmenter PUBLIC ${${name}_library})
endforeach()
target_link_libraries(segmenter PUBLIC CUDA::cudart)
