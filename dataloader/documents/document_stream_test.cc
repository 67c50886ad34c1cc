#include "dataloader/documents/document_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "dataloader/documents/test_corpus.h"

namespace bert::documents {
namespace {

using ::testing::ElementsAre;

class DocumentStreamTest : public CorpusTest {
 protected:
  // Files of all kinds, small and large ones, some with faults; one document in ten is several kilobytes long.
  std::vector<InputFile> MakeFiles(int count) {
    std::mt19937 random(7);
    int serial = 0;
    std::vector<InputFile> files;
    for (int f = 0; f < count; ++f) {
      std::string text;
      const bool json = f % 2 == 1;
      for (size_t d = random() % 400; d > 0; --d) {
        const std::string document =
            absl::StrCat("document ", serial++, d % 10 == 0 ? std::string(random() % 50'000, 'x') : "");
        absl::StrAppend(&text, json ? absl::StrCat("{\"text\": \"", document, "\"}\n") : document + "\n\n");
        if (d % 97 == 0) text += json ? "fault\n" : "\xFF\n\n";
      }
      const bool packed = f % 3 == 0;
      const std::string name = absl::StrCat("f", f, json ? ".jsonl" : ".txt", packed ? ".gz" : "");
      files.push_back(File(Write(name, packed ? Pack(Compression::kGzip, text) : text)));
    }
    return files;
  }

  struct Everything {
    std::vector<std::string> documents;
    std::vector<std::string> faults;
    std::vector<std::string> digests;

    friend bool operator==(const Everything&, const Everything&) = default;
  };

  Everything ReadAll(DocumentStream& stream) {
    Everything all;
    while (true) {
      auto batch = stream.Next();
      status_ = batch.status();
      if (!batch.ok() || !batch->has_value()) return all;
      for (std::string& document : (*batch)->documents) all.documents.push_back(std::move(document));
      for (Fault& fault : (*batch)->faults) all.faults.push_back(std::move(fault.message));
      if ((*batch)->end) all.digests.push_back((*batch)->end->digest);
    }
  }
};

TEST_F(DocumentStreamTest, GivesTheFilesInOrderWhateverTheThreadsDo) {
  const std::vector<InputFile> files = MakeFiles(30);
  Everything expected;
  for (const InputFile& file : files) {
    for (std::string& document : Read(file)) expected.documents.push_back(std::move(document));
    for (const Fault& fault : faults_) expected.faults.push_back(fault.message);
    expected.digests.push_back(end_.digest);
  }
  EXPECT_GT(expected.faults.size(), 10u);
  for (const int readers : {1, 2, 7, 40}) {
    DocumentStream stream(files, readers);
    EXPECT_TRUE(ReadAll(stream) == expected) << readers;
    EXPECT_TRUE(status_.ok()) << status_;
  }
}

TEST_F(DocumentStreamTest, GoesOnBehindEveryBatch) {
  const std::vector<InputFile> files = MakeFiles(12);
  std::vector<Position> positions;
  std::vector<size_t> documents_before;
  Everything all;
  {
    DocumentStream stream(files, 1);
    while (true) {
      auto batch = stream.Next();
      ASSERT_TRUE(batch.ok()) << batch.status();
      if (!batch->has_value()) break;
      for (std::string& document : (*batch)->documents) all.documents.push_back(std::move(document));
      positions.push_back((*batch)->next);
      documents_before.push_back(all.documents.size());
    }
  }
  EXPECT_EQ(positions.back(), (Position{files.size(), 0}));
  for (size_t i = 0; i < positions.size(); ++i) {
    DocumentStream stream(files, 2, positions[i]);
    const Everything rest = ReadAll(stream);
    ASSERT_EQ(documents_before[i] + rest.documents.size(), all.documents.size());
    EXPECT_TRUE(std::equal(rest.documents.begin(), rest.documents.end(),
                           all.documents.begin() + static_cast<int64_t>(documents_before[i])));
  }
  // Items count faults too, so that any of them can be the first.
  const std::string path = Write("one.txt", "a\n\n\xFF\n\nb\n\nc\n");
  for (const auto& [items, first] : {std::pair{1, "b"}, {2, "b"}, {3, "c"}}) {
    DocumentStream stream({File(path)}, 1, {0, items});
    EXPECT_EQ(ReadAll(stream).documents.at(0), first) << items;
  }
}

TEST_F(DocumentStreamTest, AnErrorEndsItBehindWhatCameBefore) {
  std::vector<InputFile> files = MakeFiles(3);
  files.insert(files.begin() + 1, files[0]);
  files[1].path += ".gone";
  DocumentStream stream(files, 3);
  EXPECT_EQ(ReadAll(stream).documents, Read(files[0]));
  DocumentStream again(files, 3);
  ReadAll(again);
  EXPECT_TRUE(absl::IsNotFound(status_)) << status_;
  EXPECT_FALSE(again.Next().ok());
}

TEST_F(DocumentStreamTest, CanBeLeftInTheMiddle) {
  const std::vector<InputFile> files = MakeFiles(20);
  DocumentStream stream(files, 3);
  ASSERT_TRUE(stream.Next().ok());
  std::thread stopper([&stream] { stream.Stop(); });
  while (true) {
    const auto batch = stream.Next();
    if (batch.ok() && batch->has_value()) continue;
    if (!batch.ok()) {
      EXPECT_TRUE(absl::IsCancelled(batch.status())) << batch.status();
    }
    break;
  }
  stopper.join();
}

}  // namespace
}  // namespace bert::documents
