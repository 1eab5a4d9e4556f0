# OpenVINO: -DOpenVINO_DIR=..., or the one of Python's package (pip install openvino).
if(NOT OpenVINO_DIR)
  find_package(Python3 COMPONENTS Interpreter)
  if(Python3_Interpreter_FOUND)
    execute_process(
      COMMAND ${Python3_EXECUTABLE} -c
        "import importlib.util as u; print(u.find_spec('openvino').submodule_search_locations[0])"
      OUTPUT_VARIABLE openvino_package OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  endif()
  if(openvino_package)
    set(OpenVINO_DIR ${openvino_package}/cmake)
  endif()
endif()
find_package(OpenVINO QUIET COMPONENTS Runtime)
if(NOT OpenVINO_FOUND)
  message(FATAL_ERROR "OpenVINO was not found. Install it with `pip install openvino`, name that "
    "Python with -DPython3_EXECUTABLE=..., or give -DOpenVINO_DIR=...")
endif()
message(STATUS "OpenVINO ${OpenVINO_VERSION}: ${OpenVINO_DIR}")
target_link_libraries(segmenter PUBLIC openvino::runtime)
