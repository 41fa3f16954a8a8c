"""The page for cat owners: notes, questions, permissions and withdrawal, in Japanese and English, on a telephone.

`words` says it in two languages, `layout` puts it in its order, `deeds` does it through the library, `timeline` draws,
`people` knows who may sign in, `limits` how often, and `server` what may be reached. Nothing here decides who may read
what: the library does. It needs the extra `app`; `people` and `limits` do not.
"""
