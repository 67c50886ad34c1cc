// The parts of a manifest as JSON, which a build's journal has too.
#ifndef BERT_DATALOADER_CORPUS_MANIFEST_JSON_H_
#define BERT_DATALOADER_CORPUS_MANIFEST_JSON_H_

#include <vector>

#include "dataloader/corpus/json_fields.h"
#include "dataloader/corpus/manifest.h"

namespace bert::corpus {

Json ToJson(const std::vector<FileEntry>& files);
Json ToJson(const std::vector<ShardInfo>& shards);
Json ToJson(const std::vector<CorpusEntry>& corpora);

// From the array `key`. Names that leave the dataset's directory are mistakes where they are paths.
std::vector<FileEntry> ReadFiles(const JsonFields& fields, const char* key);
std::vector<ShardInfo> ReadShards(const JsonFields& fields, const char* key);
std::vector<CorpusEntry> ReadCorpora(const JsonFields& fields, const char* key);

// Whether a path can only be inside the directory it is relative to. Digests identify content, they do not
// authenticate it: a manifest from elsewhere must not name files outside.
bool StaysInside(absl::string_view name);

}  // namespace bert::corpus

#endif  // BERT_DATALOADER_CORPUS_MANIFEST_JSON_H_
