# LiteRT: -DLITERT_LIBRARY=.../libLiteRt.so, or the one of Python's package (pip install
# ai-edge-litert). Version 2.3 or later: the functions took other arguments before.
if(NOT LITERT_LIBRARY)
  find_package(Python3 COMPONENTS Interpreter)
  if(Python3_Interpreter_FOUND)
    execute_process(
      COMMAND ${Python3_EXECUTABLE} -c
        "import importlib.util as u; print(u.find_spec('ai_edge_litert').submodule_search_locations[0])"
      OUTPUT_VARIABLE litert_package OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  endif()
  if(litert_package)
    set(LITERT_LIBRARY ${litert_package}/libLiteRt.so)
  endif()
endif()
if(NOT LITERT_LIBRARY OR NOT EXISTS ${LITERT_LIBRARY})
  message(FATAL_ERROR "LiteRT was not found. Install it with `pip install ai-edge-litert`, name "
    "that Python with -DPython3_EXECUTABLE=..., or give -DLITERT_LIBRARY=.../libLiteRt.so")
endif()
include(CheckLibraryExists)
check_library_exists(${LITERT_LIBRARY} LiteRtCreateModelFromFd "" LITERT_IS_2_3)
if(NOT LITERT_IS_2_3)
  message(FATAL_ERROR "${LITERT_LIBRARY} is older than 2.3, whose functions this kit calls. "
    "Update it with `pip install --upgrade ai-edge-litert`.")
endif()
message(STATUS "LiteRT: ${LITERT_LIBRARY}")
target_link_libraries(segmenter PUBLIC ${LITERT_LIBRARY})
