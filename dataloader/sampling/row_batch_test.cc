#include "dataloader/sampling/row_batch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <random>

namespace bert::sampling {
namespace {

using testing::HasSubstr;

RowBatch Example() {
  return {.step = 7,
          .row_begin = 3,
          .row_count = 2,
          .token_ids = {2, 10, 4, 3, 2, 11, 3, 2, 12, 13, 3},
          .segment_counts = {2, 1},
          .segment_lengths = {4, 3, 4},
          .masked_counts = {1, 2},
          .masked_positions = {2, 1, 2},
          .labels = {20, 12, 13}};
}

constexpr DecodeLimits kLimits = {.vocab_size = 100, .max_seq_len = 11};

TEST(RowBatchTest, RoundTrips) {
  for (const int32_t vocab_size : {100, 65536, 65537, 250'000}) {
    RowBatch batch = Example();
    batch.token_ids[1] = vocab_size - 1;
    batch.labels[0] = vocab_size - 1;
    const EncodedRows encoded = Encode(batch, vocab_size);
    EXPECT_EQ(encoded.token_ids.size(), batch.token_ids.size() * (vocab_size <= 65536 ? 2 : 4));
    const auto decoded = Decode(ViewOf(encoded), {.vocab_size = vocab_size, .max_seq_len = 8});
    ASSERT_TRUE(decoded.ok()) << decoded.status();
    EXPECT_EQ(*decoded, batch);
  }
}

// Two pairs: [CLS] 10 4 [SEP] 11 12 [SEP] and [CLS] 12 [SEP] 13 [SEP].
RowBatch PairExample() {
  return {.step = 7,
          .row_begin = 3,
          .row_count = 2,
          .token_ids = {2, 10, 4, 3, 11, 12, 3, 2, 12, 3, 13, 3},
          .segment_counts = {1, 1},
          .segment_lengths = {7, 5},
          .masked_counts = {1, 0},
          .masked_positions = {2},
          .labels = {20},
          .second_begins = {4, 3},
          .is_next = {1, 0}};
}

constexpr DecodeLimits kPairLimits = {.vocab_size = 100, .max_seq_len = 11, .sentence_pairs = true};

TEST(RowBatchTest, PairsRoundTripAndJoin) {
  const auto decoded = Decode(ViewOf(Encode(PairExample(), 100)), kPairLimits);
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(*decoded, PairExample());
  RowBatch first{.step = 7, .row_begin = 3};
  first.Append(PairExample());
  EXPECT_EQ(first, PairExample());
  first.Clear();
  EXPECT_TRUE(first.second_begins.empty() && first.is_next.empty());
}

TEST(RowBatchTest, WhatIsWrongWithPairsIsNamed) {
  const auto message = [](const std::function<void(RowBatch&)>& damage, const DecodeLimits& limits = kPairLimits) {
    RowBatch batch = PairExample();
    damage(batch);
    const absl::Status status = Decode(ViewOf(Encode(batch, 100)), limits).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
    return std::string(status.message());
  };
  EXPECT_THAT(message([](RowBatch& batch) { batch.second_begins.pop_back(); }), HasSubstr("second_begins: 1 values"));
  EXPECT_THAT(message([](RowBatch& batch) { batch.is_next.push_back(0); }), HasSubstr("is_next: 3 values"));
  EXPECT_THAT(message([](RowBatch& batch) { batch.is_next[1] = 2; }), HasSubstr("is_next: row 1 has 2"));
  EXPECT_THAT(message([](RowBatch& batch) { batch.second_begins[0] = 2; }), HasSubstr("second part from 2 on"));
  EXPECT_THAT(message([](RowBatch& batch) { batch.second_begins[0] = 6; }), HasSubstr("second part from 6 on"));
  EXPECT_THAT(message([](RowBatch& batch) {
                batch.segment_counts[0] = 2;
                batch.segment_lengths = {4, 3, 5};
              }),
              HasSubstr("row 0 is a pair of 2 segments"));
  EXPECT_THAT(message([](RowBatch&) {}, kLimits), HasSubstr("second_begins: 2 values where 0 belong"));
  EXPECT_THAT(message([](RowBatch& batch) {
                batch.second_begins.clear();
                batch.is_next.clear();
              }),
              HasSubstr("second_begins: 0 values where 2 belong"));
}

TEST(RowBatchTest, IsLittleEndianOnTheWire) {
  RowBatch batch = Example();
  batch.token_ids[1] = 0x1234;
  EXPECT_EQ(Encode(batch, 0x2000).token_ids.substr(2, 2), "\x34\x12");
  EXPECT_EQ(Encode(batch, 0x20000).token_ids.substr(4, 4), std::string("\x34\x12\0\0", 4));
}

TEST(RowBatchTest, NoRowsAreABatch) {
  const RowBatch batch{.step = 9, .row_begin = 4};
  const auto decoded = Decode(ViewOf(Encode(batch, 100)), kLimits);
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(*decoded, batch);
}

TEST(RowBatchTest, PartsJoin) {
  RowBatch first{.step = 7, .row_begin = 3};
  first.Append(Example());
  EXPECT_EQ(first, Example());
  RowBatch next = Example();
  next.row_begin = 5;
  first.Append(next);
  EXPECT_EQ(first.row_count, 4);
  EXPECT_EQ(first.token_ids.size(), 22u);
  EXPECT_DEATH(first.Append(next), "row 5 behind step 7 row 7");
}

TEST(RowBatchTest, WhatIsWrongIsNamed) {
  struct Case {
    std::function<void(RowBatch&)> damage;
    std::string message;
  };
  for (const Case& c : {
           Case{[](RowBatch& b) { b.token_ids[3] = 100; }, "token_ids: token 100 of a vocabulary of 100"},
           Case{[](RowBatch& b) { b.labels[0] = 999; }, "labels: token 999"},
           Case{[](RowBatch& b) { b.token_ids.pop_back(); }, "token_ids: 10 values where 11 belong"},
           Case{[](RowBatch& b) { b.row_count = 3; }, "segment_counts: 2 values where 3 belong"},
           Case{[](RowBatch& b) { b.row_count = -1; }, "rows: -1"},
           Case{[](RowBatch& b) { b.step = -1; }, "rows: "},
           Case{[](RowBatch& b) {
                  b.segment_counts = {1, 1};
                },
                "segment_lengths: 3 values where 2 belong"},
           Case{[](RowBatch& b) {
                  b.segment_counts = {3, 0};
                },
                "segment_counts: row 1 has no segment"},
           Case{[](RowBatch& b) {
                  b.segment_lengths = {5, 2, 4};
                },
                "row 0 has a segment of 2 tokens"},
           Case{[](RowBatch& b) {
                  b.segment_counts = {1, 2}, b.segment_lengths = {3, 4, 4};
                },
                ""},
           Case{[](RowBatch& b) {
                  b.segment_counts = {1, 2}, b.segment_lengths = {3, 3, 5};
                },
                ""},
           Case{[](RowBatch& b) { b.token_ids.resize(16, 5), b.segment_lengths[1] = 8; }, "row 0 has 12 tokens; 11"},
           Case{[](RowBatch& b) {
                  b.masked_counts = {1, 1};
                },
                "masked_positions: 3 values where 2 belong"},
           Case{[](RowBatch& b) { b.labels.pop_back(); }, "labels: 2 values where 3 belong"},
           Case{[](RowBatch& b) {
                  b.masked_positions = {2, 2, 1};
                },
                "row 1 of 4 tokens has position 1 behind 2"},
           Case{[](RowBatch& b) {
                  b.masked_positions = {7, 1, 2};
                },
                "row 0 of 7 tokens has position 7"},
       }) {
    RowBatch batch = Example();
    c.damage(batch);
    const auto decoded = Decode(ViewOf(Encode(batch, 100)), kLimits);
    if (c.message.empty()) {
      EXPECT_TRUE(decoded.ok()) << decoded.status();
      continue;
    }
    EXPECT_EQ(decoded.status().code(), absl::StatusCode::kDataLoss) << c.message;
    EXPECT_THAT(decoded.status().message(), HasSubstr("batch of step "));
    EXPECT_THAT(decoded.status().message(), HasSubstr(c.message));
  }
}

TEST(RowBatchTest, HalfANumberIsNoticed) {
  EncodedRows encoded = Encode(Example(), 100);
  encoded.masked_positions.pop_back();
  EXPECT_THAT(Decode(ViewOf(encoded), kLimits).status().message(),
              HasSubstr("masked_positions: 5 bytes do not divide"));
}

// Whatever the bytes, decoding ends with a batch or an error, and a batch encodes to the same bytes.
TEST(RowBatchTest, RandomDamageIsSurvived) {
  std::mt19937_64 generator(3);
  int survivors = 0;
  for (int i = 0; i < 5000; ++i) {
    EncodedRows encoded = Encode(Example(), 100);
    std::string* fields[] = {&encoded.token_ids,     &encoded.segment_counts,   &encoded.segment_lengths,
                             &encoded.masked_counts, &encoded.masked_positions, &encoded.labels};
    std::string& field = *fields[generator() % 6];
    field[generator() % field.size()] = static_cast<char>(generator() % 16);
    const auto decoded = Decode(ViewOf(encoded), kLimits);
    if (!decoded.ok()) continue;
    ++survivors;
    const EncodedRows again = Encode(*decoded, 100);
    ASSERT_EQ(again.token_ids, encoded.token_ids) << i;
    ASSERT_EQ(again.masked_positions, encoded.masked_positions) << i;
  }
  EXPECT_GT(survivors, 0);
}

}  // namespace
}  // namespace bert::sampling
