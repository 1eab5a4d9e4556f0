# The network is a library of its own, which is loaded from the folder `model`.
find_package(Threads REQUIRED)
target_link_libraries(segmenter PUBLIC ${CMAKE_DL_LIBS} Threads::Threads)
