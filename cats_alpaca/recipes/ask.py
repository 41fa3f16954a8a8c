"""Ask a model that the recipe for TRL trained."""

from datasets import load_dataset
from peft import AutoPeftModelForCausalLM
from transformers import AutoTokenizer

rows = load_dataset(
    "{{repo}}",
    "prompt_completion",
    revision="{{revision}}",
)
row = rows["test"][0]  # {{test}}
row = rows["train"][0]  # {{no test}}
tokenizer = AutoTokenizer.from_pretrained("lora")
model = AutoPeftModelForCausalLM.from_pretrained("lora", dtype="auto")
tokens = tokenizer(row["prompt"], return_tensors="pt").to(model.device)
answer = model.generate(**tokens, max_new_tokens=1024)
print(tokenizer.decode(answer[0, tokens["input_ids"].shape[1] :], skip_special_tokens=True))
