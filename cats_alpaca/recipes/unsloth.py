"""QLoRA with Unsloth."""

from unsloth import FastLanguageModel  # isort: skip  # it must come before the others, which it speeds up

import torch
from datasets import load_dataset
from trl import SFTConfig, SFTTrainer

rows = load_dataset(
    "{{repo}}",
    "prompt_completion",
    revision="{{revision}}",
)
checkpointing = "unsloth" if torch.cuda.is_available() else True
model, tokenizer = FastLanguageModel.from_pretrained(
    "{{model}}", max_seq_length="{{length}}", load_in_4bit=True, use_gradient_checkpointing=checkpointing
)
model = FastLanguageModel.get_peft_model(
    model, r=16, lora_alpha=32, lora_dropout=0.05, use_gradient_checkpointing=checkpointing
)
trainer = SFTTrainer(
    model=model,
    processing_class=tokenizer,
    train_dataset=rows["train"],
    eval_dataset=rows["test"],  # {{test}}
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
        report_to="none",
    ),
)
trainer.train()
trainer.save_model()
