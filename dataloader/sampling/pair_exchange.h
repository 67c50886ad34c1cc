// Which sentence pairs are true ones.
#ifndef BERT_DATALOADER_SAMPLING_PAIR_EXCHANGE_H_
#define BERT_DATALOADER_SAMPLING_PAIR_EXCHANGE_H_

#include <cstdint>

#include "dataloader/sampling/row_index.h"

namespace bert::sampling {

// Devlin et al. 2018 pair half of the first parts with the text that follows and half with text of another document.
// Here, in each epoch, rows whose parts have the same lengths are drawn two by two, and a fair coin decides for both:
// each keeps its second part, or they exchange them. So every part is read exactly once an epoch, lengths say nothing
// about the label, and no row needs to be longer than it is. Two rows of one document do not exchange: of all rows,
// 50% and half the share of such twos are true pairs. A row that has no other one of its lengths is a true pair, too.
//
// The row that gives row r its second part in `epoch`: r itself for a true pair. Its own inverse. Depends on the
// arguments only. `rows` are sentence pairs.
int64_t SecondPartOf(const RowIndex& rows, uint64_t seed, uint64_t epoch, int64_t row);

}  // namespace bert::sampling

#endif  // BERT_DATALOADER_SAMPLING_PAIR_EXCHANGE_H_
