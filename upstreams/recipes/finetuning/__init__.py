"""Fine-tuning: an encoder is trained together with a task's own head.

`finetune` is a method (a recipe card names `module:make`); `task` also serves the pruning for a
task.
"""
