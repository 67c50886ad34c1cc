#include "worker/model/safetensors.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "common/files.h"

namespace bert::model {
namespace {

using ::testing::HasSubstr;

class SafetensorsTest : public testing::Test {
 protected:
  // A file of a header of this JSON and `data_bytes` bytes of data.
  absl::Status OpenHeader(const std::string& json, size_t data_bytes) {
    const uint64_t length = json.size();
    std::string bytes(reinterpret_cast<const char*>(&length), sizeof(length));
    return OpenBytes(bytes + json + std::string(data_bytes, 'x'));
  }
  absl::Status OpenBytes(const std::string& bytes) {
    EXPECT_TRUE(WriteFile(path_, bytes).ok());
    return SafetensorsFile::Open(path_).status();
  }

  // Names the process: tests run side by side.
  const std::string path_ =
      testing::TempDir() + "/" + testing::UnitTest::GetInstance()->current_test_info()->name() + ".safetensors";
};

TEST_F(SafetensorsTest, ReadsWhatItWrote) {
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  for (const at::ScalarType dtype :
       {at::kDouble, at::kFloat, at::kHalf, at::kBFloat16, at::kLong, at::kInt, at::kShort, at::kChar, at::kByte}) {
    tensors.emplace_back(c10::toString(dtype), at::arange(15).to(dtype).view({3, 5}));
  }
  tensors.emplace_back("bool", at::arange(3).gt(1));
  tensors.emplace_back("scalar", at::arange(7, 8, at::kFloat).squeeze());
  tensors.emplace_back("empty", at::empty({0, 4}, at::kFloat));
  tensors.emplace_back("not contiguous", at::arange(6, at::kFloat).view({2, 3}).t());
  ASSERT_TRUE(WriteSafetensors(path_, tensors, {{"step", "12"}}).ok());
  const auto file = SafetensorsFile::Open(path_);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->entries().size(), tensors.size());
  EXPECT_EQ(file->metadata().at("format"), "pt");
  EXPECT_EQ(file->metadata().at("step"), "12");
  for (const auto& [name, expected] : tensors) {
    const auto read = file->Read(name);
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(read->scalar_type(), expected.scalar_type()) << name;
    EXPECT_TRUE(at::equal(*read, expected)) << name;
  }
}

TEST_F(SafetensorsTest, ReadsIntoTensorsOfTheSameShapeOnly) {
  ASSERT_TRUE(WriteSafetensors(path_, {{"a", at::arange(6, at::kDouble).view({2, 3})}}).ok());
  const auto file = SafetensorsFile::Open(path_);
  ASSERT_TRUE(file.ok());
  at::Tensor target = at::empty({2, 3}, at::kFloat);
  ASSERT_TRUE(file->ReadInto("a", target).ok());
  EXPECT_TRUE(at::equal(target, at::arange(6, at::kFloat).view({2, 3})));
  EXPECT_THAT(std::string(file->ReadInto("a", at::empty({3, 2}, at::kFloat)).message()),
              HasSubstr("tensor 'a' has shape [2, 3], the model takes [3, 2]"));
  EXPECT_EQ(file->Read("b").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(SafetensorsTest, NamesTheFileAndWhatIsWrongWithIt) {
  EXPECT_EQ(SafetensorsFile::Open(path_ + ".missing").status().code(), absl::StatusCode::kNotFound);
  const std::string good = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  EXPECT_TRUE(OpenHeader(good, 8).ok());
  struct Case {
    const char* header;
    size_t data_bytes;
    const char* message;
  };
  for (const Case& wrong : std::vector<Case>{
           {R"(not json)", 0, "not a JSON object"},
           {R"([1])", 0, "not a JSON object"},
           {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 9, "names 8 bytes of data, the file has 9"},
           {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 7, "names 8 bytes of data, the file has 7"},
           {R"({"a":{"dtype":"F33","shape":[2],"data_offsets":[0,8]}})", 8, "tensor 'a': unknown dtype \"F33\""},
           {R"({"a":{"dtype":7,"shape":[2],"data_offsets":[0,8]}})", 8, "unknown dtype 7"},
           {R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", 8, "does not take 8 bytes"},
           {R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", 8, "bad shape [-2]"},
           {R"({"a":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}})", 8, "bad shape [2.0]"},
           {R"({"a":{"dtype":"F32","shape":2,"data_offsets":[0,8]}})", 8, "bad shape 2"},
           {R"({"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8]}})", 8,
            "does not take 8 bytes"},
           {R"({"a":{"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,8]}})", 8, "bad shape"},
           {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", 8, "bad data_offsets [8,0]"},
           {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0]}})", 8, "bad data_offsets [0]"},
           {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})", 12, "begins at byte 4 of the data, not at 0"},
           {R"({"a":{"dtype":"F32","shape":[2]}})", 8, "does not consist of"},
           {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"more":1}})", 8, "does not consist of"},
           {R"({"a":3})", 0, "does not consist of"},
           {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
            R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})",
            8, "names 'a' twice"},
           {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
            R"("b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})",
            12, "tensor 'b' begins at byte 4 of the data, not at 8"},
           {R"({"__metadata__":{"format":1}})", 0, "__metadata__.format is not a string"},
           {R"({"__metadata__":[]})", 0, "__metadata__ is not an object"},
       }) {
    const absl::Status status = OpenHeader(wrong.header, wrong.data_bytes);
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << wrong.header;
    EXPECT_THAT(std::string(status.message()), HasSubstr(path_));
    EXPECT_THAT(std::string(status.message()), HasSubstr(wrong.message)) << wrong.header;
  }
}

TEST_F(SafetensorsTest, EveryCutAndEveryDamagedHeaderByteIsHarmless) {
  ASSERT_TRUE(WriteSafetensors(path_, {{"a", at::arange(6, at::kFloat)}, {"b", at::arange(4, at::kLong)}}).ok());
  const std::string good = *ReadFile(path_);
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, good.data(), sizeof(header_bytes));
  for (size_t size = 0; size < good.size(); ++size) {
    EXPECT_EQ(OpenBytes(good.substr(0, size)).code(), absl::StatusCode::kDataLoss) << "cut to " << size;
  }
  EXPECT_EQ(OpenBytes(good + "x").code(), absl::StatusCode::kDataLoss);
  for (size_t i = 0; i < sizeof(header_bytes) + header_bytes; ++i) {
    for (const int bit : {0, 1, 6, 7}) {
      std::string bytes = good;
      bytes[i] = static_cast<char>(bytes[i] ^ (1 << bit));
      ASSERT_TRUE(WriteFile(path_, bytes).ok());
      const auto file = SafetensorsFile::Open(path_);
      if (!file.ok()) {
        EXPECT_EQ(file.status().code(), absl::StatusCode::kDataLoss) << "byte " << i << " bit " << bit;
        continue;
      }
      // Another name, or spacing: then whatever is named can be read.
      for (const auto& [name, entry] : file->entries()) {
        EXPECT_TRUE(file->Read(name).ok()) << "byte " << i << " bit " << bit;
      }
    }
  }
}

TEST_F(SafetensorsTest, ReportsWhatCannotBeWritten) {
  const at::Tensor tensor = at::arange(6, at::kFloat);
  EXPECT_EQ(WriteSafetensors("/dev/full", {{"a", tensor}}).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(WriteSafetensors(path_ + ".missing/x", {{"a", tensor}}).code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(WriteSafetensors(path_, {{"a", tensor}, {"a", tensor}}).message()), HasSubstr("comes twice"));
  EXPECT_THAT(std::string(WriteSafetensors(path_, {{"a", tensor.to(at::kComplexFloat)}}).message()),
              HasSubstr("has a dtype the format lacks"));
}

}  // namespace
}  // namespace bert::model
