// What a vocabulary trainer learned, as a tokenizer.
#ifndef BERT_DATALOADER_TEXT_TRAINED_TOKENIZER_H_
#define BERT_DATALOADER_TEXT_TRAINED_TOKENIZER_H_

#include <memory>

#include "absl/status/statusor.h"
#include "dataloader/text/normalizer.h"
#include "dataloader/text/tokenizer.h"
#include "dataloader/text/vocabulary_trainer.h"

namespace bert::text {

// The tokenizer that cuts text as the trainer with these options did. Errors of Vocabulary::FromTokens.
absl::StatusOr<std::unique_ptr<Tokenizer>> MakeTokenizer(TrainedVocabulary trained, VocabularyKind kind,
                                                         const NormalizerOptions& normalizer);

}  // namespace bert::text

#endif  // BERT_DATALOADER_TEXT_TRAINED_TOKENIZER_H_
