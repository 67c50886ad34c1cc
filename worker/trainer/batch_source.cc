#include "worker/trainer/batch_source.h"

#include <algorithm>

namespace bert::trainer {

int32_t RowRange::RowsOf(int64_t step) const {
  const int64_t rows = row_end - row_begin;
  if (split_rows == 0) return static_cast<int32_t>(rows);
  return static_cast<int32_t>(std::clamp<int64_t>(split_rows - step * global_rows - row_begin, 0, rows));
}

}  // namespace bert::trainer
