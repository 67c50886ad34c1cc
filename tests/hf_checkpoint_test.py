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


def reference_pairs(model, rows):
    """Mean losses of masked tokens and of next-sentence labels, and the share of the latter that is right."""
    nll, masked, next_nll, correct = 0.0, 0, 0.0, 0
    entropy = torch.nn.functional.cross_entropy
    with torch.no_grad():
        for row in rows:
            (pair,) = row["segments"]
            out = model(
                input_ids=torch.tensor([pair["input_ids"]]), token_type_ids=torch.tensor([pair["token_type_ids"]])
            )
            labels = torch.tensor(pair["labels"], dtype=torch.int64)
            nll += entropy(out.prediction_logits[0, pair["positions"]].double(), labels, reduction="sum").item()
            masked += len(labels)
            label = torch.tensor([0 if row["is_next"] else 1])
            next_nll += entropy(out.seq_relationship_logits.double(), label).item()
            correct += int(out.seq_relationship_logits.argmax(1).eq(label).sum())
    return nll / masked, next_nll / len(rows), correct / len(rows)


def validation_rows(c, dataset, *flags):
    """The file with what a job with these settings validates on, and its rows."""
    file = c.home / f"rows-{dataset}.jsonl"
    command = [cluster.BINARIES / "bert-data", "rows", c.home / "data" / dataset, "--split", "validation", "--json"]
    file.write_text(cluster.run_ok([*command, "--max-seq-len", SEQ_LEN, "--seed", SEED, "--count", ROWS, *flags]))
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(rows) == ROWS, f"{len(rows)} rows"
    return file, rows


class HfCheckpointTest(cluster.ClusterTest):
    def test_transformers_has_our_validation_loss(self):
        c = self.start_cluster()
        settings = {"train__steps": STEPS, "checkpoint__every_steps": STEPS, "validation__rows": ROWS, "seed": SEED}
        jobs = {norm: c.submit(**settings, model__norm=norm, name=norm.replace("_", "-")) for norm in NORMS}
        rows_file, rows = validation_rows(c, "english")
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

    def test_transformers_has_both_our_losses_of_sentence_pairs(self):
        c = self.start_cluster()
        settings = {"train__steps": STEPS, "checkpoint__every_steps": STEPS, "validation__rows": ROWS, "seed": SEED}
        settings["data__rows"] = "sentence_pair"
        # Two ranks, whose parts of a batch have different numbers of masked tokens.
        workers = {"min": 2, "max": 2}
        jobs = {
            norm: c.submit(**settings, model__norm=norm, workers=workers, name=norm.replace("_", "-")) for norm in NORMS
        }
        rows_file, rows = validation_rows(c, "english", "--rows", "sentence_pair")
        for norm, model_type in NORMS.items():
            with self.subTest(norm=norm):
                validation = c.wait_for_state(jobs[norm], "SUCCEEDED")["last_validation"]
                directory = c.checkpoints(jobs[norm])[0]["directory"]
                model, report = transformers.AutoModelForPreTraining.from_pretrained(
                    directory, output_loading_info=True
                )
                self.assertEqual(model.config.model_type, model_type)
                self.assertFalse(any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")))
                evaluate = [cluster.BINARIES / "bert-model", "evaluate", "--model", directory, "--rows", rows_file]
                evaluated = json.loads(cluster.run_ok([*evaluate, "--json"]))
                names = ("loss", "next_sentence_loss", "next_sentence_accuracy")
                for name, value in zip(names, reference_pairs(model.eval(), rows), strict=True):
                    self.assertAlmostEqual(value / validation[name], 1.0, delta=1e-4, msg=name)
                    self.assertAlmostEqual(evaluated[name] / validation[name], 1.0, delta=1e-4, msg=name)
                step = c.job(jobs[norm])["last_step"]
                self.assertGreater(step["next_sentence_loss"], 0)

    def test_byte_pairs_from_text_to_a_filled_mask(self):
        c = self.make_cluster()
        cluster.build_dataset(c.home, data="data/bytes", kind="byte-level-bpe")
        c.start()
        settings = {"train__steps": STEPS, "checkpoint__every_steps": STEPS, "validation__rows": ROWS, "seed": SEED}
        job = c.submit(data__dataset="bytes", **settings)
        validation = c.wait_for_state(job, "SUCCEEDED")["last_validation"]
        directory = c.checkpoints(job)[0]["directory"]
        model = transformers.AutoModelForMaskedLM.from_pretrained(directory).eval()
        loss, count = reference_loss(model, validation_rows(c, "bytes")[1])
        self.assertEqual(count, int(validation["masked_tokens"]))
        self.assertAlmostEqual(loss / validation["loss"], 1.0, delta=1e-4)
        self._check_tokenizer(c, directory)
        tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
        text = "You may convey a work based on the [MASK], or the modifications."
        encoded = tokenizer(text, return_tensors="pt")
        place = encoded["input_ids"][0].tolist().index(tokenizer.mask_token_id)
        with torch.no_grad():
            best = model(input_ids=encoded["input_ids"]).logits[0, place].topk(3).indices.tolist()
        fill = [cluster.BINARIES / "bert-model", "fill-mask", "--model", directory, "--top-k", 3, "--json"]
        mask = json.loads(cluster.run_ok([*fill, "--text", text]))["masks"][0]
        self.assertEqual(mask["position"], place)
        self.assertEqual([each["token"] for each in mask["predictions"]], tokenizer.convert_ids_to_tokens(best))

    def _check_tokenizer(self, c, directory):
        tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
        self.assertEqual(tokenizer.mask_token, "[MASK]")
        text = "Everyone is permitted to copy and distribute [MASK] copies of this License, naïvely; 42 times."
        ours = cluster.run_ok([cluster.BINARIES / "bert-data", "tokenize", "--tokenizer", directory], input_text=text)
        self.assertEqual([int(x) for x in ours.split()], tokenizer(text, add_special_tokens=False)["input_ids"])


if __name__ == "__main__":
    cluster.main()
