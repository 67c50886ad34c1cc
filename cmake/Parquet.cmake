# Arrow's Parquet library from the pyarrow wheel that scripts/setup.sh installs, as hand-written imported targets. Only
# the offline tool reads Parquet; nothing that serves or trains links this.

if(NOT BERT_ARROW_DIR)
  file(GLOB candidates ${CMAKE_SOURCE_DIR}/.deps/venv/lib/python3*/site-packages/pyarrow)
  list(GET candidates 0 first)
  set(BERT_ARROW_DIR "${first}" CACHE PATH "Folder of the installed pyarrow package" FORCE)
endif()
# The libraries carry their version in their names, and no link without it.
file(GLOB arrow_libraries ${BERT_ARROW_DIR}/libarrow.so.* ${BERT_ARROW_DIR}/libparquet.so.*)
list(LENGTH arrow_libraries arrow_library_count)
if(NOT arrow_library_count EQUAL 2)
  message(FATAL_ERROR "no pyarrow in '${BERT_ARROW_DIR}'; run scripts/setup.sh, or set BERT_ARROW_DIR, "
                      "or build without it: -DBERT_PARQUET=OFF")
endif()

add_library(arrow::parquet INTERFACE IMPORTED)
target_include_directories(arrow::parquet SYSTEM INTERFACE ${BERT_ARROW_DIR}/include)
target_link_options(arrow::parquet INTERFACE -Wl,-rpath,${BERT_ARROW_DIR})
target_link_libraries(arrow::parquet INTERFACE ${arrow_libraries})
