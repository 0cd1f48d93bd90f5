"""Opens exported folders where Athanor is not installed, and says what it found: run by test_exported.py in a process of its own.

python -S -P opened_elsewhere.py FOLDERS REPOSITORY     FOLDERS/<name>/ and FOLDERS/asked.pt in, FOLDERS/found.pt out
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

ROOMS = ("corpus", "extractors", "filters", "packer", "model", "train", "flows")
INSTALLED = [room for room in ROOMS if importlib.util.find_spec(room) is not None]

import torch  # noqa: E402
import transformers  # noqa: E402
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, DynamicCache  # noqa: E402

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()


def opened(folder: Path, **more):
    return AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True, **more)


def written(model, ids, new: int = 16, **more):
    """Greedily, what follows."""
    return model.generate(ids, do_sample=False, pad_token_id=0, eos_token_id=None, max_new_tokens=new, **more)[:, ids.shape[1] :]


def error(call) -> str:
    try:
        call()
    except ValueError as e:
        return str(e)
    return ""


def numbers(model, ids, mask) -> dict:
    """Logits of one folder: of whole rows, padded on either side, of the last column."""
    kept = ids.flip(1)  # what is real where `mask` is turned round, in another order
    with torch.no_grad():
        found = {"logits": model(ids).logits, "left": model(ids, attention_mask=mask).logits}
        found |= {"kept": kept, "right": model(kept, attention_mask=mask.flip(1)).logits}
        return found | {"last": model(ids, attention_mask=mask, logits_to_keep=1).logits}


def texts(model, ids, mask) -> dict:
    """What it writes: alone and in padded batches, without a cache, with beams, drafts, a prompt in pieces, a cache that goes on."""
    found = {"greedy": written(model, ids), "padded": written(model, ids, attention_mask=mask)}
    found["without cache"] = written(model, ids, attention_mask=mask, use_cache=False)
    found["beams"] = written(model, ids, attention_mask=mask, num_beams=3)
    found["beams without cache"] = written(model, ids, attention_mask=mask, num_beams=3, use_cache=False)
    found["drafts"] = written(model, ids[:1], prompt_lookup_num_tokens=3)
    found["in pieces"] = written(model, ids, attention_mask=mask, prefill_chunk_size=5)
    first = model.generate(ids, max_new_tokens=6, do_sample=False, pad_token_id=0, eos_token_id=None, return_dict_in_generate=True)
    name = "cache" if "cache" in first else "past_key_values"  # as this version calls it
    rest = written(model, first.sequences, 10, **{name: first[name]})
    with torch.no_grad():
        longer = model(torch.cat((ids, ids[:, :10]), 1))[name]
    found["taken back"] = [error(lambda: longer.crop(-17)), error(lambda: longer.crop(-16))]
    return found | {"continued": torch.cat((first.sequences[:, ids.shape[1] :], rest), 1)}


def trained(model, ids, mask) -> dict:
    """Loss and gradients as fine-tuning asks for them, and what a step and a saved folder give."""
    model.train()
    labels = ids.masked_fill(mask == 0, -100)
    model(ids, attention_mask=mask, labels=labels).loss.backward()
    found = {"grads": {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}}
    optimizer, losses = torch.optim.AdamW(model.parameters(), 1e-2), []
    for _ in range(3):
        optimizer.zero_grad()
        loss = model(ids, attention_mask=mask, labels=labels).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    shared = model(ids, labels=ids, num_items_in_batch=2 * ids.numel()).loss.detach()
    mean = model(ids, labels=ids).loss.detach()
    return found | {"losses": torch.stack(losses), "of two batches": shared, "of one": mean}


def main(folders: Path, repository: str) -> None:
    asked = torch.load(folders / "asked.pt", weights_only=True)
    ids, mask, found = asked["ids"], asked["mask"], {"installed": INSTALLED}
    for name in asked["shapes"]:
        model = opened(folders / name)
        found[name] = numbers(model, ids, mask) | (texts(model, ids, mask) if name in asked["written"] else {}) | trained(model, ids, mask)
        if name in asked["saved"]:
            model.eval().save_pretrained(folders / f"{name}, saved")
            again = opened(folders / f"{name}, saved")
            with torch.no_grad():
                found[name] |= {"saved": model(ids).logits, "again": again(ids).logits}
    plain = opened(folders / "plain")
    found["names"] = {key: getattr(plain.config, key) for key in asked["names"]}
    found["embeddings"] = (plain.get_input_embeddings().weight.shape[0], plain.resize_token_embeddings(61).weight.shape[0])
    found["errors"] = [
        error(lambda: plain.resize_token_embeddings(70)),
        error(lambda: plain(ids, position_ids=torch.arange(ids.shape[1])[None])),
        error(lambda: plain(ids, past_key_values=DynamicCache())),
        error(lambda: plain.generate(ids, max_new_tokens=60, do_sample=False, pad_token_id=0, eos_token_id=None)),
    ]
    with torch.no_grad():
        narrow, wide = opened(folders / "narrow"), opened(folders / "narrow", dtype=torch.float32)
        found["narrow"] = {"dtype": str(narrow.dtype), "logits": narrow(ids).logits, "wide": wide(ids).logits}
        found["in shards"] = opened(folders / "in shards")(ids).logits
    config = AutoConfig.from_pretrained(folders / "plain", trust_remote_code=True)
    fresh = AutoModelForCausalLM.from_config(config, trust_remote_code=True)
    found["fresh"] = dict(fresh.model.state_dict())
    tokenizer = AutoTokenizer.from_pretrained(folders / "with tokenizer", trust_remote_code=True)
    talk = tokenizer.apply_chat_template(asked["messages"], add_generation_prompt=True, tokenize=True, return_dict=True)
    found["tokenizer"] = {"text": tokenizer(asked["text"])["input_ids"], "chat": talk["input_ids"]}
    found["tokenizer"] |= {"back": tokenizer.decode(tokenizer(asked["text"])["input_ids"])}
    generation = opened(folders / "with tokenizer").generation_config
    found["generation"] = {key: getattr(generation, f"{key}_token_id") for key in ("bos", "eos", "pad")} | {"drawn": generation.do_sample}
    sys.path.insert(0, repository)  # now with Athanor in the same process
    from model.decoder import Decoder

    with torch.no_grad():
        found["both"] = (Decoder.from_pretrained(folders / "routed")(ids), opened(folders / "routed")(ids).logits)
        found["reloaded"] = opened(folders / "routed", force_download=True)(ids).logits
    torch.save(found, folders / "found.pt")


if __name__ == "__main__":
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    main(Path(sys.argv[1]), sys.argv[2])
