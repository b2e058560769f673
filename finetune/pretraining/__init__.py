"""A language model from nothing: text in; a tokenizer, weights, and a folder that every part of the suite takes out.

``finetune.pretraining.run.pretrain`` does it, in this order: ``documents`` → ``tokenizer`` → ``blocks`` → ``learning``
(twice: on the text, then on the chats of ``chats``) → ``result``.
"""
