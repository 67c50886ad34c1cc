#!/usr/bin/env python3
"""A hundred steps of training beside Hugging Face transformers and torch.optim.AdamW: the same weights, data, schedule.

    training_curve_test.py --tool PATH/training_curve_tool

Both kinds of model, full, padded and packed rows, and sentence pairs with the next-sentence loss; transformers runs
each segment of a packed row in a row of its own. In fp32 every step's loss is within 1e-4 of transformers', relative,
whether a step's rows are computed at once or in parts. In bf16 it stays within a band around the fp32 curve.
Prints the largest difference of each case; exits with 1 where one is too large.
"""
import argparse
import itertools
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import transformers
from model_parity_test import KINDS, LAYOUTS, PAIR_KINDS, PAIRS, make_batch, make_pairs
from safetensors.torch import save_file

ERROR_MAX = 1e-4
# bf16 keeps 8 bits of a product's operands; the loss is a mean over a few dozen tokens.
BF16_ERROR_MAX = 0.005
STEPS = 100
WARMUP = 10
PEAK = 1e-3
VOCABULARY = 503
SEED = 8


def make_model(kinds, kind):
    config_class, model_class = kinds[kind]
    return model_class(config_class(
        vocab_size=VOCABULARY, hidden_size=64, num_hidden_layers=3, num_attention_heads=4, intermediate_size=160,
        max_position_embeddings=64, type_vocab_size=2, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0))


def make_steps(make, layout):
    """STEPS batches, stacked; something is to be learned: few tokens are ever right."""
    batches = []
    for _ in range(STEPS):
        batch = make(layout)
        before = batch["input_ids"].flatten()[(batch["masked_positions"] - 1).clamp(min=0)]
        batch["labels"] = 5 + before % 8
        batches.append(batch)
    steps = {name: torch.stack([batch[name] for batch in batches]) for name in batches[0]}
    step = torch.arange(1, STEPS + 1, dtype=torch.float64)
    steps["learning_rates"] = PEAK * torch.minimum(step / WARMUP, (STEPS - step) / (STEPS - WARMUP))
    return steps


def rows_of_segments(steps, step):
    """A step with each segment in a row of its own: ids, mask, labels, and of pairs the types."""
    ids, segments = steps["input_ids"][step], steps["segments"][step]
    labels = torch.full((ids.numel(),), -100)
    labels[steps["masked_positions"][step]] = steps["labels"][step]
    labels = labels.view_as(ids)
    spans = [(row, segments[row] == number) for row in range(len(ids)) for number in range(segments[row].max() + 1)]
    shape = (len(spans), ids.shape[1])
    out = {"input_ids": torch.zeros(shape, dtype=torch.int64), "attention_mask": torch.zeros(shape, dtype=torch.int64),
           "labels": torch.full(shape, -100)}
    for i, (row, inside) in enumerate(spans):
        length = int(inside.sum())
        out["input_ids"][i, :length] = ids[row, inside]
        out["attention_mask"][i, :length] = 1
        out["labels"][i, :length] = labels[row, inside]
    if "token_type_ids" in steps:
        out["token_type_ids"] = steps["token_type_ids"][step]
        out["next_sentence_label"] = steps["next_sentence_labels"][step]
    return out


def train_reference(model, steps):
    model.train()
    plain = [p for name, p in model.named_parameters() if name.endswith("bias") or p.dim() == 1]
    decayed = [p for name, p in model.named_parameters() if not name.endswith("bias") and p.dim() > 1]
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}],
                                  betas=(0.9, 0.999), eps=1e-6)
    losses = []
    for step in range(STEPS):
        loss = model(**rows_of_segments(steps, step)).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = steps["learning_rates"][step].item()
        optimizer.step()
        losses.append(loss.item())
    return torch.tensor(losses, dtype=torch.float64)


def train_ours(tool, directory, precision, micro_batches):
    command = [tool, directory / "model", directory / "inputs.safetensors", precision, str(micro_batches)]
    lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
    assert len(lines) == STEPS, f"{len(lines)} losses for {STEPS} steps"
    return torch.tensor([float(line) for line in lines], dtype=torch.float64)


def compare_case(tool, kind, layout, directory):
    pairs = layout in PAIRS
    model = make_model(PAIR_KINDS if pairs else KINDS, kind)
    steps = make_steps(make_pairs, PAIRS[layout]) if pairs else make_steps(make_batch, LAYOUTS[layout])
    model.save_pretrained(directory / "model")
    save_file(steps, directory / "inputs.safetensors")
    theirs = train_reference(model, steps)
    assert theirs[-10:].mean() < 0.9 * theirs[:10].mean(), f"nothing learned: {theirs[::10].tolist()}"

    def difference(ours, reference):
        return ((ours - reference).abs() / reference).max().item()

    fp32 = train_ours(tool, directory, "fp32", 1)
    return {
        "fp32": (difference(fp32, theirs), ERROR_MAX),
        "fp32 in parts": (difference(train_ours(tool, directory, "fp32", 2), theirs), ERROR_MAX),
        "bf16": (difference(train_ours(tool, directory, "bf16", 1), fp32), BF16_ERROR_MAX),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tool", required=True, type=Path)
    tool = parser.parse_args().tool
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    failed = False
    for kind, layout in itertools.product(KINDS, [*LAYOUTS, *PAIRS]):
        with tempfile.TemporaryDirectory() as directory:
            results = compare_case(tool, kind, layout, Path(directory))
        bad = any(not error <= most for error, most in results.values())
        failed |= bad
        figures = ", ".join(f"{name} {error:.1e}" for name, (error, _) in results.items())
        print(f"{'FAIL' if bad else 'ok  '} {kind:13} {layout:12} largest relative difference: {figures}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
