// Golden output of every view.
#include <gmock/gmock.h>

#include "bertctl/estimate_view.h"
#include "bertctl/example_job.h"
#include "bertctl/job_view.h"
#include "bertctl/node_view.h"
#include "bertctl/output_format.h"

namespace bert::ctl {
namespace {

using testing::HasSubstr;

std::vector<v1::Checkpoint> ExampleCheckpoints() {
  v1::Checkpoint checkpoint;
  checkpoint.set_job_id("tiny-english-ab12c");
  checkpoint.set_generation(1);
  checkpoint.set_step(200);
  checkpoint.set_directory("/data/checkpoints/tiny-english-ab12c/step-00000200");
  checkpoint.set_digest("xxh128:0123456789abcdef0123456789abcdef");
  checkpoint.set_size_bytes(66'123'456);
  checkpoint.set_node("node-a");
  *checkpoint.mutable_commit_time() = ExampleTime(absl::Seconds(20));
  return {checkpoint};
}

std::vector<v1::JobEvent> ExampleEvents() {
  std::vector<v1::JobEvent> events(2);
  events[0].set_type("SUBMITTED");
  events[0].set_message("by ada");
  *events[0].mutable_time() = ExampleTime(absl::Minutes(5));
  events[1].set_type("RANK_FAILED");
  events[1].set_generation(1);
  events[1].set_message("rank 1 on node-a: killed by signal 9 (SIGKILL)");
  *events[1].mutable_time() = ExampleTime(absl::Minutes(2));
  return events;
}

TEST(JobViewTest, Table) {
  v1::Job waiting;
  waiting.set_id("big");
  waiting.set_state(v1::JOB_STATE_PENDING);
  waiting.set_reason("waits for 8 slots; 0 are free");
  waiting.mutable_spec()->mutable_train()->set_steps(1000000);
  EXPECT_EQ(JobTable({ExampleJob(), waiting}, false, ExampleNow(), false),
            R"(ID                  STATE         STEP    LOSS  VAL-LOSS  TOKENS/S  RESTARTS    AGE
tiny-english-ab12c  RUNNING    240/600  5.1234    5.2500     8,343         1  5m00s
big                 PENDING  0/1000000       -         -         -         0      -
)");
  EXPECT_EQ(JobTable({ExampleJob(), waiting}, true, ExampleNow(), false),
            "ID                  STATE         STEP    LOSS  VAL-LOSS  TOKENS/S  RESTARTS    AGE  NAME          USER  "
            "PLACES     "
            "        REASON\n"
            "tiny-english-ab12c  RUNNING    240/600  5.1234    5.2500     8,343         1  5m00s  tiny-english  ada   "
            "node-a:0,node-a:1  2 ranks train\n"
            "big                 PENDING  0/1000000       -         -         -         0      -  -             -     "
            "-        "
            "          waits for 8 slots; 0 are free\n");
}

TEST(JobViewTest, DescribeSaysWhereTheTimeGoes) {
  v1::Job job = ExampleJob();
  job.mutable_time_shares()->set_data_wait(0.01);
  job.mutable_time_shares()->set_compute(0.75);
  job.mutable_time_shares()->set_all_reduce(0.125);
  EXPECT_THAT(DescribeJob({job, {}, {}}, ExampleNow(), false),
              HasSubstr("\nTime         compute 75.0%, all-reduce 12.5%, data wait 1.0%\n"));
}

TEST(EstimateViewTest, SaysWhatARankWillNeed) {
  v1::JobSpec spec = ExampleJob().spec();
  spec.mutable_model()->set_hidden_size(768);
  spec.mutable_model()->set_num_hidden_layers(12);
  spec.mutable_model()->set_num_attention_heads(12);
  spec.mutable_model()->set_intermediate_size(3072);
  spec.mutable_model()->set_max_position_embeddings(512);
  spec.mutable_model()->set_type_vocab_size(2);
  spec.mutable_train()->set_precision(v1::PRECISION_BF16);
  spec.mutable_train()->set_global_batch_size(8);
  spec.mutable_train()->set_micro_batch_size(8);
  spec.mutable_data()->set_max_seq_len(128);
  spec.mutable_data()->mutable_masking()->set_probability(0.15);
  spec.mutable_workers()->set_max(1);
  const std::string memory_only = EstimateText(spec, {});
  EXPECT_THAT(memory_only, HasSubstr(" GB on rank 0 (weights 438 MB, bf16 copies 219 MB, gradients 438 MB, moments "));
  EXPECT_THAT(memory_only, HasSubstr("with 30522 tokens in the vocabulary; 0.558 TFLOP a step (--device-tflops"));
  EXPECT_THAT(EstimateText(spec, {.device_tflops = 0.5}), HasSubstr(" s a step on 1 rank"));
}

TEST(JobViewTest, DescribeShowsHowEachRankDoes) {
  v1::Job job = ExampleJob();
  v1::RankHealth& rank = *job.add_rank_health();
  rank.set_rank(1);
  rank.set_completed_steps(420);
  rank.set_tokens_per_second(1500);
  rank.set_mfu(0.375);
  rank.mutable_time_shares()->set_compute(0.875);
  rank.mutable_time_shares()->set_data_wait(0.125);
  job.set_skipped_steps(3);
  const std::string text = DescribeJob({job, {}, {}}, ExampleNow(), false);
  EXPECT_THAT(text, HasSubstr("\nSkipped      3 steps whose loss or gradient was not finite\n"));
  EXPECT_THAT(text, HasSubstr("  RANK  NODE    SLOT  STEP  TOKENS/S    MFU  TIME"));
  EXPECT_THAT(text, HasSubstr("compute 87.5%, data wait 12.5%"));
  EXPECT_THAT(text, HasSubstr("37.5%"));
}

TEST(JobViewTest, Describe) {
  EXPECT_EQ(DescribeJob({ExampleJob(), ExampleCheckpoints(), ExampleEvents()}, ExampleNow(), false),
            R"(Job          tiny-english-ab12c
State        RUNNING
Reason       2 ranks train
User         ada
Submitted    2026-01-02 02:59:05 UTC (5m00s ago)
Started      2026-01-02 03:00:53 UTC (3m12s ago)
Generation   2, 1 restart
Progress     step 240 of 600 (40.0%), epoch 1.50
Last step    loss 5.1234, learning rate 0.000667, gradient norm 1.250, 8,343 tokens/s
Validation   loss 5.2500, perplexity 190.6, accuracy 21.3% at step 200 over 4,915 masked tokens
Root cause   generation 1, 2m00s ago: rank 1 on node node-a was killed by signal 9 (SIGKILL)
  | step=130 loss=6.01
  | ?[31mcoloured
Ranks
  RANK  NODE    SLOT
     0  node-a     0
     1  node-a     1
Checkpoints (1)
  STEP     SIZE  AGE  NODE    DIRECTORY
   200  66.1 MB  20s  node-a  /data/checkpoints/tiny-english-ab12c/step-00000200
Events
    AGE  GENERATION  EVENT        MESSAGE
  5m00s           0  SUBMITTED    by ada
  2m00s           1  RANK_FAILED  rank 1 on node-a: killed by signal 9 (SIGKILL)
Spec
  name: tiny-english
  model:
    norm: pre_ln
  train:
    steps: 600
)");
}

TEST(JobViewTest, DescribeAJobThatHasDoneNothingYet) {
  v1::Job job;
  job.set_id("a");
  job.set_state(v1::JOB_STATE_PENDING);
  *job.mutable_submit_time() = ExampleTime(absl::Seconds(3));
  EXPECT_EQ(DescribeJob({job, {}, {}}, ExampleNow(), true),
            "Job          a\n"
            "State        \x1b[33mPENDING\x1b[0m\n"
            "User         -\n"
            "Submitted    2026-01-02 03:04:02 UTC (3s ago)\n"
            "Generation   0, 0 restarts\n"
            "Spec\n");
}

TEST(JobViewTest, Checkpoints) {
  EXPECT_EQ(CheckpointTable(ExampleCheckpoints(), true, ExampleNow(), false),
            "STEP     SIZE  AGE  NODE    DIRECTORY                                           GENERATION  DIGEST\n"
            " 200  66.1 MB  20s  node-a  /data/checkpoints/tiny-english-ab12c/step-00000200           1  "
            "xxh128:0123456789abcdef0123456789abcdef\n");
}

v1::ListNodesResponse ExampleNodes() {
  v1::ListNodesResponse nodes;
  v1::Node& node = *nodes.add_nodes();
  node.set_name("node-a");
  node.set_state(v1::NODE_STATE_READY);
  node.set_version("0.1.0");
  node.set_address("10.0.0.1");
  *node.mutable_last_heartbeat() = ExampleTime(absl::Seconds(1));
  for (int slot = 0; slot < 2; ++slot) {
    v1::SlotStatus& status = *node.add_slots();
    status.mutable_slot()->set_index(slot);
    status.mutable_slot()->set_device(v1::DEVICE_KIND_CPU);
    status.mutable_slot()->set_description("1 thread");
  }
  node.mutable_slots(1)->set_job_id("tiny-english-ab12c");
  v1::Node& lost = *nodes.add_nodes();
  lost.set_name("node-b");
  lost.set_state(v1::NODE_STATE_LOST);
  v1::Loader& loader = *nodes.add_loaders();
  loader.set_address("10.0.0.1:7410");
  loader.set_version("0.1.0");
  loader.set_open_streams(2);
  *loader.mutable_last_heartbeat() = ExampleTime(absl::ZeroDuration());
  return nodes;
}

TEST(NodeViewTest, Table) {
  EXPECT_EQ(NodeTable(ExampleNodes(), false, ExampleNow(), false),
            R"(NODE    STATE  FREE  SLOTS  JOBS                HEARTBEAT  ADDRESS   VERSION
node-a  READY     1      2  tiny-english-ab12c         1s  10.0.0.1  0.1.0
node-b  LOST      0      0  -                           -  -         -

DATALOADER     STREAMS  HEARTBEAT  VERSION
10.0.0.1:7410        2         0s  0.1.0
)");
  EXPECT_THAT(NodeTable(ExampleNodes(), true, ExampleNow(), false),
              HasSubstr("node-a  READY     1  cpu     1 thread     tiny-english-ab12c     0         1s\n"));
}

TEST(OutputFormatTest, JsonHasTheProtosFieldNames) {
  const std::string json = ToJson(ExampleJob());
  EXPECT_THAT(json, HasSubstr("\"submit_time\": \"2026-01-02T02:59:05Z\""));
  EXPECT_THAT(json, HasSubstr("\"state\": \"JOB_STATE_RUNNING\""));
  EXPECT_THAT(json, HasSubstr("\"tokens_per_second\": 8342.6"));
  v1::LogLine line;
  line.set_text("a \"line\"\n");
  EXPECT_EQ(ToJsonLine(line), R"({"sequence":"0","generation":"0","rank":0,"node":"","text":"a \"line\"\n"})"
                              "\n");
}

TEST(OutputFormatTest, YamlHasTheSpecsForm) {
  v1::Job job = ExampleJob();
  job.clear_last_validation();
  EXPECT_EQ(ToYaml(job), R"yaml(id: tiny-english-ab12c
spec:
  name: tiny-english
  model:
    norm: pre_ln
  train:
    steps: 600
state: running
reason: "2 ranks train"
user: ada
submit_time: 2026-01-02T02:59:05Z
start_time: 2026-01-02T03:00:53Z
generation: 2
restarts: 1
ranks:
- rank: 0
  node: node-a
  slot: 0
- rank: 1
  node: node-a
  slot: 1
last_step:
  step: 240
  loss: 5.12341
  learning_rate: 0.000667
  grad_norm: 1.25
  tokens_per_second: 8342.6
  masked_tokens: 0
  epoch: 1.5
  time: 2026-01-02T03:04:04Z
  total_steps: 0
checkpoint_step: 200
root_cause:
  generation: 1
  rank: 1
  node: node-a
  cause: "rank 1 on node node-a was killed by signal 9 (SIGKILL)"
  time: 2026-01-02T03:02:05Z
  log_tail:
  - "step=130 loss=6.01"
  - "\x1b[31mcoloured"
)yaml");
}

}  // namespace
}  // namespace bert::ctl
