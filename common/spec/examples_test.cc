// Every file of examples/ is a valid job.
#include <gmock/gmock.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "common/spec/job_spec.h"

namespace bert::spec {
namespace {

TEST(ExamplesTest, ParseCompleteAndValidate) {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(BERT_EXAMPLES_DIR)) {
    if (entry.path().extension() == ".yaml") paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  std::set<std::string> presets;
  for (const std::filesystem::path& path : paths) {
    std::stringstream text;
    text << std::ifstream(path).rdbuf();
    const auto parsed = ParseJobSpec(text.str(), path.filename().string());
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    const auto complete = Complete(parsed->spec, parsed->locations);
    ASSERT_TRUE(complete.ok()) << complete.status();
    EXPECT_EQ(Validate(*complete, parsed->locations), absl::OkStatus());
    EXPECT_EQ(path.stem(), complete->name()) << "an example's name is its file's";
    presets.insert(complete->preset());
  }
  EXPECT_THAT(presets, testing::ElementsAreArray(PresetNames())) << "every preset has an example";
}

}  // namespace
}  // namespace bert::spec
