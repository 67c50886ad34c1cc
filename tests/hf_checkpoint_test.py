#!/usr/bin/env python3
"""A committed checkpoint is a Hugging Face model: transformers loads it and has our loss on the validation rows."""

import json
import os

# What transformers loads lies here, and no network is asked. It reads this when it is imported.
os.environ["HF_HUB_OFFLINE"] = "1"

import cluster
import torch
import transformers

STEPS = 40
SEED = 7
ROWS = 32
SEQ_LEN = 64
# Of transformers' model type, and ours.
NORMS = {"post_ln": "bert", "pre_ln": "megatron-bert"}


def reference_loss(model, rows):
    """Mean loss of masked tokens with every segment run alone, and how many there are."""
    total, count = 0.0, 0
    with torch.no_grad():
        for row in rows:
            for segment in row["segments"]:
                if not segment["positions"]:
                    continue
                logits = model(input_ids=torch.tensor([segment["input_ids"]])).logits[0, segment["positions"]]
                labels = torch.tensor(segment["labels"])
                total += torch.nn.functional.cross_entropy(logits.double(), labels, reduction="sum").item()
                count += len(labels)
    return total / count, count


class HfCheckpointTest(cluster.ClusterTest):
    def test_transformers_has_our_validation_loss(self):
        c = self.start_cluster()
        settings = {"train__steps": STEPS, "checkpoint__every_steps": STEPS, "validation__rows": ROWS, "seed": SEED}
        jobs = {norm: c.submit(**settings, model__norm=norm, name=norm.replace("_", "-")) for norm in NORMS}
        rows_file = c.home / "rows.jsonl"
        rows_file.write_text(
            cluster.run_ok(
                [cluster.BINARIES / "bert-data", "rows", c.home / "data/english", "--split", "validation", "--json"]
                + ["--max-seq-len", SEQ_LEN, "--seed", SEED, "--count", ROWS]
            )
        )
        rows = [json.loads(line) for line in rows_file.read_text().splitlines()]
        self.assertEqual(len(rows), ROWS)
        for norm, model_type in NORMS.items():
            with self.subTest(norm=norm):
                validation = c.wait_for_state(jobs[norm], "SUCCEEDED")["last_validation"]
                self.assertEqual(int(validation["step"]), STEPS)
                directory = c.checkpoints(jobs[norm])[0]["directory"]
                # Nothing may be made up: every tensor of the model is in the file and no other is.
                model, report = transformers.AutoModelForMaskedLM.from_pretrained(directory, output_loading_info=True)
                self.assertEqual(model.config.model_type, model_type)
                self.assertFalse(any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")))
                loss, count = reference_loss(model.eval(), rows)
                self.assertEqual(count, int(validation["masked_tokens"]))
                self.assertAlmostEqual(loss / validation["loss"], 1.0, delta=1e-4)
                # And so has bert-model.
                evaluated = json.loads(
                    cluster.run_ok(
                        [cluster.BINARIES / "bert-model", "evaluate", "--model", directory]
                        + ["--rows", rows_file, "--json"]
                    )
                )
                self.assertAlmostEqual(evaluated["loss"] / validation["loss"], 1.0, delta=1e-4)
                self._check_tokenizer(c, directory)

    def _check_tokenizer(self, c, directory):
        tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
        self.assertEqual(tokenizer.mask_token, "[MASK]")
        text = "Everyone is permitted to copy and distribute [MASK] copies of this License, naïvely; 42 times."
        ours = cluster.run_ok([cluster.BINARIES / "bert-data", "tokenize", "--tokenizer", directory], input_text=text)
        self.assertEqual([int(x) for x in ours.split()], tokenizer(text, add_special_tokens=False)["input_ids"])


if __name__ == "__main__":
    cluster.main()
