#!/usr/bin/env python3
"""Our logits, loss and every gradient against Hugging Face transformers, on the same weights and inputs, in fp32.

    model_parity_test.py --tool PATH/model_parity_tool

Both kinds (BertForMaskedLM, MegatronBertForMaskedLM), both GELUs, three layouts of rows. Transformers runs each segment
of a packed row alone; we run the packed rows. Then sentence pairs, padded and not, through BertForPreTraining and
MegatronBertForPreTraining: both heads' logits, both losses and the gradients of their sum, as transformers forms it.
Our copy of each model goes back through from_pretrained.
Prints the largest relative error of each case; exits with 1 where one is above 1e-4.
"""
import argparse
import itertools
import logging
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file

ERROR_MAX = 1e-4
SEED = 20240229
SEQ = 48
# Lengths of the segments of each row; the rest of a row is padding.
LAYOUTS = {
    "full rows": [[48], [48], [48]],
    "padded rows": [[48], [31], [5]],
    "packed rows": [[20, 28], [7, 1, 13, 20], [33, 9]],
}
# Lengths of a row's two parts.
PAIRS = {
    "full pairs": [(20, 28), (40, 8), (3, 45)],
    "padded pairs": [(20, 28), (5, 9), (11, 2), (2, 30)],
}
PAIR_KINDS = {
    "bert": (transformers.BertConfig, transformers.BertForPreTraining),
    "megatron-bert": (transformers.MegatronBertConfig, transformers.MegatronBertForPreTraining),
}
KINDS = {
    "bert": (transformers.BertConfig, transformers.BertForMaskedLM),
    "megatron-bert": (transformers.MegatronBertConfig, transformers.MegatronBertForMaskedLM),
}


def make_model(kinds, kind, activation):
    config_class, model_class = kinds[kind]
    config = config_class(
        vocab_size=503, hidden_size=64, num_hidden_layers=3, num_attention_heads=4, intermediate_size=160,
        max_position_embeddings=64, type_vocab_size=2, hidden_act=activation, hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0)
    model = model_class(config)
    # Biases and LayerNorm away from 0 and 1, and weights large enough that attention is not uniform.
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            scale = 0.3 if name.endswith("weight") and parameter.dim() == 2 else 0.1
            norm = parameter.dim() == 1 and name.endswith("weight")
            parameter.copy_(torch.randn_like(parameter) * scale + (1.0 if norm else 0.0))
    return model


def make_batch(layout):
    rows = len(layout)
    ids = torch.zeros(rows, SEQ, dtype=torch.int64)
    positions = torch.zeros(rows, SEQ, dtype=torch.int64)
    segments = torch.full((rows, SEQ), -1, dtype=torch.int32)
    masked = []
    for row, lengths in enumerate(layout):
        begin = 0
        for number, length in enumerate(lengths):
            span = slice(begin, begin + length)
            ids[row, span] = torch.randint(5, 503, (length,))
            positions[row, span] = torch.arange(length)
            segments[row, span] = number
            picked = torch.randperm(length)[: max(1, length // 5)].sort().values
            masked.append(row * SEQ + begin + picked)
            begin += length
    masked = torch.cat(masked)
    return {"input_ids": ids, "position_ids": positions, "segments": segments, "masked_positions": masked,
            "labels": torch.randint(5, 503, masked.shape)}


def make_pairs(parts):
    batch = make_batch([[first + second] for first, second in parts])
    types = torch.zeros_like(batch["input_ids"])
    for row, (first, second) in enumerate(parts):
        types[row, first:first + second] = 1
    labels = torch.arange(len(parts)) % 2
    return {**batch, "token_type_ids": types, "next_sentence_labels": labels}


def run_pairs_reference(model, batch):
    """All rows at once, with transformers' own loss; its sums over masked tokens and over rows, and its gradients."""
    model.zero_grad()
    masked = batch["masked_positions"]
    labels = torch.full((batch["input_ids"].numel(),), -100)
    labels[masked] = batch["labels"]
    out = model(input_ids=batch["input_ids"], attention_mask=(batch["segments"] >= 0).long(),
                token_type_ids=batch["token_type_ids"], labels=labels.view_as(batch["input_ids"]),
                next_sentence_label=batch["next_sentence_labels"])
    out.loss.backward()
    logits = out.prediction_logits.flatten(0, 1)[masked].detach()
    next_logits = out.seq_relationship_logits.detach()
    entropy = torch.nn.functional.cross_entropy
    nll = entropy(logits, batch["labels"], reduction="sum")
    next_nll = entropy(next_logits, batch["next_sentence_labels"], reduction="sum")
    mean = nll / len(masked) + next_nll / len(next_logits)
    assert torch.allclose(mean, out.loss.detach()), f"transformers' loss is {out.loss}, the two means add up to {mean}"
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    return logits, nll, next_logits, next_nll, gradients


def run_reference(model, layout, batch):
    """Each segment alone; returns logits [M, V] in the order of masked_positions, the loss and the gradients."""
    model.zero_grad()
    logits = {}
    total = torch.zeros(())
    for row, lengths in enumerate(layout):
        begin = 0
        for length in lengths:
            ids = batch["input_ids"][row, begin:begin + length]
            out = model(input_ids=ids[None], attention_mask=torch.ones(1, length, dtype=torch.int64)).logits[0]
            first = row * SEQ + begin
            inside = (batch["masked_positions"] >= first) & (batch["masked_positions"] < first + length)
            picked = out[batch["masked_positions"][inside] - first]
            loss = torch.nn.functional.cross_entropy(picked, batch["labels"][inside], reduction="sum")
            loss.backward()
            total += loss.detach()
            for index, row_logits in zip(inside.nonzero()[:, 0].tolist(), picked.detach()):
                logits[index] = row_logits
            begin += length
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    return torch.stack([logits[i] for i in range(len(logits))]), total, gradients


class Errors:
    def __init__(self):
        self.largest = (0.0, "nothing")

    def add(self, name, ours, theirs, floor=0.0):
        """The largest difference, relative to the largest value of the tensor (and to no less than `floor`)."""
        assert ours.shape == theirs.shape, f"{name}: {list(ours.shape)} against {list(theirs.shape)}"
        scale = max(theirs.abs().max().item(), floor)
        error = (ours.double() - theirs.double()).abs().max().item() / scale
        if not error <= self.largest[0]:
            self.largest = (error, name)


def run_tool(tool, model, batch, directory):
    """Our outputs, and the directory with our copy of the model."""
    source, copy = directory / "model", directory / "copy"
    copy.mkdir()
    model.save_pretrained(source)
    save_file(batch, directory / "inputs.safetensors")
    outputs = directory / "outputs.safetensors"
    subprocess.run([tool, source, directory / "inputs.safetensors", outputs, copy], check=True)
    return load_file(outputs), copy


def compare_gradients(errors, ours, gradients, scale=1.0):
    # The gradient of a key's bias is zero in exact arithmetic (softmax ignores a shift), so what is left of it is
    # rounding: it is measured against the bias next to it.
    for name, gradient in gradients.items():
        neighbour = gradients[name.replace(".key.bias", ".query.bias")]
        errors.add("grad " + name, ours.pop("grad." + name) * scale, gradient, neighbour.abs().max().item())
    assert not ours, f"gradients that transformers lacks: {sorted(ours)}"


def load_copy(model, copy):
    """Our copy as from_pretrained reads it: the same in every bit."""
    loaded, info = type(model).from_pretrained(copy, output_loading_info=True)
    problems = {key: value for key, value in info.items() if value}
    assert not problems, f"from_pretrained of our copy: {problems}"
    for (name, parameter), (other, copied) in zip(model.named_parameters(), loaded.named_parameters(), strict=True):
        assert name == other and torch.equal(parameter, copied), f"{name} is not the same after the round trip"
    for field in ("model_type", "hidden_act", "layer_norm_eps", "vocab_size", "max_position_embeddings",
                  "type_vocab_size", "intermediate_size", "hidden_dropout_prob", "attention_probs_dropout_prob",
                  "tie_word_embeddings", "architectures"):
        assert getattr(model.config, field) == getattr(loaded.config, field), f"config.json: {field}"
    return loaded


def compare_case(tool, kind, activation, layout_name, directory):
    layout = LAYOUTS[layout_name]
    model = make_model(KINDS, kind, activation)
    batch = make_batch(layout)
    ours, copy = run_tool(tool, model, batch, directory)
    logits, loss, gradients = run_reference(model, layout, batch)

    errors = Errors()
    errors.add("logits", ours.pop("logits"), logits)
    errors.add("nll", ours.pop("nll"), loss)
    errors.add("eval_nll", ours.pop("eval_nll"), loss)
    expected = (logits.argmax(1) == batch["labels"]).sum()
    assert ours.pop("correct") == expected, "count of correct predictions"
    compare_gradients(errors, ours, gradients)
    errors.add("logits of the copy", run_reference(load_copy(model, copy), layout, batch)[0], logits)
    return errors.largest


def compare_pairs(tool, kind, activation, layout_name, directory):
    model = make_model(PAIR_KINDS, kind, activation).eval()
    batch = make_pairs(PAIRS[layout_name])
    ours, copy = run_tool(tool, model, batch, directory)
    logits, nll, next_logits, next_nll, gradients = run_pairs_reference(model, batch)
    errors = Errors()
    for name, theirs in {"logits": logits, "nll": nll, "eval_nll": nll, "next_sentence_logits": next_logits,
                         "next_sentence_nll": next_nll, "next_sentence_eval_nll": next_nll}.items():
        errors.add(name, ours.pop(name), theirs)
    assert ours.pop("correct") == (logits.argmax(1) == batch["labels"]).sum(), "count of correct predictions"
    correct = (next_logits.argmax(1) == batch["next_sentence_labels"]).sum()
    assert ours.pop("next_sentence_correct") == correct, "count of correct next-sentence predictions"
    compare_gradients(errors, ours, gradients, 1 / len(logits))
    copied = run_pairs_reference(load_copy(model, copy).eval(), batch)
    errors.add("logits of the copy", copied[0], logits)
    errors.add("next-sentence logits of the copy", copied[2], next_logits)
    return errors.largest


class WarningCounter(logging.Handler):
    def __init__(self):
        super().__init__(logging.WARNING)
        self.messages = []

    def emit(self, record):
        self.messages.append(record.getMessage())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tool", required=True, type=Path)
    tool = parser.parse_args().tool
    torch.manual_seed(SEED)
    torch.set_num_threads(2)
    transformers.utils.logging.disable_progress_bar()
    warnings = WarningCounter()
    transformers.utils.logging.get_logger("transformers").addHandler(warnings)
    failed = False
    for kind, activation, layout in itertools.product(KINDS, ("gelu", "gelu_pytorch_tanh"), [*LAYOUTS, *PAIRS]):
        with tempfile.TemporaryDirectory() as directory:
            compare = compare_case if layout in LAYOUTS else compare_pairs
            error, name = compare(tool, kind, activation, layout, Path(directory))
        bad = not error <= ERROR_MAX
        failed |= bad
        print(f"{'FAIL' if bad else 'ok  '} {kind:13} {activation:17} {layout:12} largest error {error:.1e} ({name})")
    if warnings.messages:
        print("transformers warned:", *warnings.messages, sep="\n  ")
    sys.exit(1 if failed or warnings.messages else 0)


if __name__ == "__main__":
    main()
