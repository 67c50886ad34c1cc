#include "common/spec/nearest_name.h"

#include <gmock/gmock.h>

namespace bert::spec {
namespace {

TEST(NearestNameTest, CountsSlipsOfTheFinger) {
  EXPECT_EQ(EditDistance("", ""), 0);
  EXPECT_EQ(EditDistance("steps", "steps"), 0);
  EXPECT_EQ(EditDistance("step", "steps"), 1);
  EXPECT_EQ(EditDistance("setps", "steps"), 1);
  EXPECT_EQ(EditDistance("kitten", "sitting"), 3);
  EXPECT_EQ(EditDistance("", "abc"), 3);
}

TEST(NearestNameTest, FindsWhatWasMeant) {
  const std::vector<std::string> names = {"steps", "global_batch_size", "micro_batch_size"};
  EXPECT_EQ(NearestName("stepz", names), "steps");
  EXPECT_EQ(NearestName("globl_batchsize", names), "global_batch_size");
  EXPECT_EQ(NearestName("colour", names), std::nullopt);
  EXPECT_EQ(NearestName("xy", {"ab"}), std::nullopt);
  EXPECT_EQ(NearestName(std::string(100000, 's'), names), std::nullopt);
}

}  // namespace
}  // namespace bert::spec
