model="{{model}}"
repo="{{repo}}"
revision="{{revision}}"

# LitGPT reads local JSON only: one file a split.
python - "$repo" ${revision:+"$revision"} <<'PYTHON'
import sys
from pathlib import Path

from datasets import load_dataset

rows = load_dataset(sys.argv[1], "alpaca", revision=sys.argv[2] if sys.argv[2:] else None)
Path("rows").mkdir(exist_ok=True)
rows = rows["train"].train_test_split(0.1, seed=0)  # {{no test}}LitGPT must look at some rows: a tenth is kept from training
rows["train"].to_json("rows/train.jsonl", force_ascii=False)
rows["test"].to_json("rows/val.jsonl", force_ascii=False)
PYTHON

# A GPU older than Ampere (a T4, say) has no bfloat16: --precision 16-true there.
# The name says which of the architectures that LitGPT knows the model has.
test -d "$model" || test -d "checkpoints/$model" || litgpt download "$model" --model_name Llama-3.1-8B
litgpt finetune_lora "$model" \
  --data JSON --data.json_path rows --data.prompt_style alpaca --data.mask_prompt true \
  --quantize bnb.nf4-dq --precision bf16-true \
  --lora_r 16 --lora_alpha 32 --lora_dropout 0.05 \
  --lora_query true --lora_key true --lora_value true --lora_projection true --lora_mlp true \
  --train.epochs 3 --train.global_batch_size 16 --train.micro_batch_size 1 --train.max_seq_length "{{length}}" \
  --train.lr_warmup_steps 5 --optimizer '{"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.0002}}' \
  --out_dir lora "$@"
