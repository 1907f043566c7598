"""Make a tiny chat model with random weights, to try a real inference server without a GPU or a download.

    python tiny_model.py OUT_DIR

Needs torch, transformers and tokenizers. The model (0.46 million parameters, 2 MB) answers nonsense, but
loads in vLLM and in `transformers serve` like any other, with 1,024 tokens of context and a chat template.
"""

import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

CONTEXT = 1024
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def make_tokenizer(text: str) -> PreTrainedTokenizerFast:
    """Byte-level BPE: any text can be encoded, whatever it was trained on."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        special_tokens=["<|end|>", "<|system|>", "<|user|>", "<|assistant|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator([text], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token="<|end|>",
        pad_token="<|end|>",
        model_max_length=CONTEXT,
        chat_template=CHAT_TEMPLATE,
    )


def make_model(vocabulary: int) -> LlamaForCausalLM:
    """Two layers, two heads of 64: vLLM's CPU attention refuses heads narrower than 32."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=0,
    )
    return LlamaForCausalLM(config)


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} OUT_DIR")
    out = Path(sys.argv[1])
    tokenizer = make_tokenizer(Path(__file__).read_text(encoding="utf-8"))
    model = make_model(len(tokenizer))
    tokenizer.save_pretrained(out)
    model.save_pretrained(out)
    print(f"{out}: {model.num_parameters():,} parameters, {len(tokenizer)} tokens")


if __name__ == "__main__":
    main()
