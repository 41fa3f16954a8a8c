"""QLoRA with TRL, PEFT and bitsandbytes; also runs without a GPU, slowly."""

import torch
from datasets import load_dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, BitsAndBytesConfig
from trl import SFTConfig, SFTTrainer

rows = load_dataset(
    "{{repo}}",
    "prompt_completion",
    revision="{{revision}}",
)
# A GPU older than Ampere (a T4, say) has no bfloat16.
cuda = torch.cuda.is_available()
half = (
    torch.bfloat16 if cuda and torch.cuda.get_device_capability()[0] >= 8 else torch.float16 if cuda else torch.float32
)
model = AutoModelForCausalLM.from_pretrained(
    "{{model}}",
    dtype=half,
    quantization_config=BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=half,
    ),
)
trainer = SFTTrainer(
    model=model,
    train_dataset=rows["train"],
    eval_dataset=rows["test"],  # {{test}}
    peft_config=LoraConfig(task_type="CAUSAL_LM", r=16, lora_alpha=32, lora_dropout=0.05, target_modules="all-linear"),
    args=SFTConfig(
        output_dir="lora",
        max_length="{{length}}",
        num_train_epochs=3,
        learning_rate=2e-4,
        lr_scheduler_type="cosine",
        per_device_train_batch_size=1,
        gradient_accumulation_steps=16,
        per_device_eval_batch_size=1,  # {{test}}
        eval_strategy="epoch",  # {{test}}
        logging_steps=5,
        bf16=half is torch.bfloat16,
        fp16=half is torch.float16,
        report_to="none",
    ),
)
trainer.train()
trainer.save_model()
