# ONNX Runtime: -DONNXRUNTIME_LIBRARY=.../libonnxruntime.so, or the one of Python's package (pip
# install onnxruntime). A bare name, such as libonnxruntime.so.1, is left to the system's loader.
if(NOT ONNXRUNTIME_LIBRARY)
  find_package(Python3 COMPONENTS Interpreter)
  if(Python3_Interpreter_FOUND)
    execute_process(
      COMMAND ${Python3_EXECUTABLE} -c
        "import importlib.util as u; print(u.find_spec('onnxruntime').submodule_search_locations[0])"
      OUTPUT_VARIABLE onnxruntime_package OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  endif()
  if(onnxruntime_package)
    file(GLOB found ${onnxruntime_package}/capi/libonnxruntime.so*
      ${onnxruntime_package}/capi/libonnxruntime*.dylib)
    if(found)
      list(GET found 0 ONNXRUNTIME_LIBRARY)
    endif()
  endif()
endif()
if(NOT ONNXRUNTIME_LIBRARY)
  message(FATAL_ERROR "ONNX Runtime was not found. Install it with `pip install onnxruntime`, name "
    "that Python with -DPython3_EXECUTABLE=..., or give -DONNXRUNTIME_LIBRARY=...")
endif()
message(STATUS "ONNX Runtime: ${ONNXRUNTIME_LIBRARY}")
# Packages name the file by its whole version, which the linker would not find again.
target_compile_definitions(segmenter PRIVATE ONNXRUNTIME_LIBRARY="${ONNXRUNTIME_LIBRARY}")
target_link_libraries(segmenter PUBLIC ${CMAKE_DL_LIBS})
