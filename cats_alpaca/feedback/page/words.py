"""Everything that the page says, in Japanese and in English; nobody's own text is ever part of it."""

from __future__ import annotations

import re
from typing import NamedTuple


class Words(NamedTuple):
    """The page in one language."""

    language: str
    title: str
    lead: str
    other_language: str
    sign_out: str
    which_cat: str
    new_cat: str
    cat_name: str
    cat_name_hint: str
    choose_cat: str

    write: str
    date: str
    seen: str
    seen_hint: str
    done: str
    done_hint: str
    outcome: str
    outcome_hint: str
    feeling: str
    feeling_hint: str
    share: str
    only_me: str
    group: str
    no_names: str
    keep: str
    kept: str

    ask: str
    question: str
    question_hint: str
    feeling_now: str
    feeling_now_hint: str
    send: str
    asked: str
    no_model: str
    own: str
    others: str
    nothing: str
    thinking: str
    answer: str
    answered: str
    model_fails: str
    model_busy: str
    again: str
    verdict: str
    up: str
    down: str
    correction: str
    correction_hint: str
    judge: str
    judged: str
    choose_verdict: str
    nothing_asked: str

    look: str
    picture: str
    no_picture: str
    experience: str
    turn: str
    entries: str
    older: str
    details: str
    change_share: str
    shared_now: str
    unshared_now: str
    mend: str
    forget: str
    forget_cat: str
    sure: str
    yes: str
    no: str
    forgotten: str
    quoted: str
    still_published: str
    choose_entry: str

    mine: str
    permissions: str
    train: str
    publish: str
    changed: str
    both_given: str
    not_both: str
    full_text: str
    take_along: str
    take_along_hint: str
    taken: str
    forget_me: str
    gone: str

    manage: str
    counts: str
    counted: str
    leave: str
    stay: str
    refresh: str
    export: str
    exported: str
    not_maintainer: str

    too_fast: str
    signed_out: str
    failed: str


JA = Words(
    language="ja",
    title="この子のきろく",
    lead="ねこさんに起きたことを書きとめ、困ったときに聞けるノートです。",
    other_language="English",
    sign_out="サインアウト",
    which_cat="どの子のことですか",
    new_cat="はじめての子",
    cat_name="この子のなまえ",
    cat_name_hint="例：ミケ",
    choose_cat="まず、上で「どの子のことか」を選んでください。",
    write="書く",
    date="いつ",
    seen="どんなようすでしたか",
    seen_hint="例：朝からくしゃみが五回。食欲はいつもどおり。",
    done="なにをしましたか（なくてもかまいません）",
    done_hint="例：次の日に病院へ。飲み薬を一週間。",
    outcome="そのあと、どうなりましたか（まだなら空のままで）",
    outcome_hint="例：五日で止まった。",
    feeling="そのときの気持ち（なくてもかまいません）",
    feeling_hint="例：早く連れて行ってよかった。",
    share="だれに見せますか",
    only_me="わたしだけ",
    group="仲間にも見せる",
    no_names="人の名前、住所、電話番号は書かないでください。",
    keep="書きとめる",
    kept="書きとめました。「見る」でいつでも読み返せます。",
    ask="聞く",
    question="この子のことで、聞きたいこと",
    question_hint="例：くしゃみをしています。すこし元気がありません。",
    feeling_now="いまの気持ち（なくてもかまいません）",
    feeling_now_hint="例：不安です。",
    send="聞いてみる",
    asked="質問を書きとめました。",
    no_model="ここには、答えを書く機械がつながっていません。心配なときは、待たずに獣医さんに電話してください。"
    "あとで分かったことは、下に書いておけます。",
    own="この子の、これまでのきろくから",
    others="仲間の子のきろくから",
    nothing="似たきろくは、まだありませんでした。",
    thinking="答えを考えています。二分ほどかかることがあります。",
    answer="答え（機械が書いたものです。心配なときは獣医さんに）",
    answered="答えが届きました。役に立ったかどうか、下で教えてください。",
    model_fails="いまは機械から答えがもらえませんでした。質問は消えていません。もういちど試すか、下にご自分の答えを書いてください。",
    model_busy="いま、ほかの方の質問に答えています。質問は消えていません。すこし待って「もういちど答えてもらう」を押してください。",
    again="もういちど答えてもらう",
    verdict="この答えは、役に立ちましたか",
    up="役に立った",
    down="ちがうと思う",
    correction="ほんとうは、どう答えてほしかったですか。または、分かったこと",
    correction_hint="書いていただいた言葉が、つぎの答えのお手本になります。",
    judge="伝える",
    judged="ありがとうございます。伝わりました。",
    choose_verdict="「役に立った」か「ちがうと思う」を選ぶか、答えを書いてください。",
    nothing_asked="さきに「聞いてみる」で質問してください。",
    look="見る",
    picture="この子のきろく。{first} から {last} まで、できごと {told} 件、質問 {asked} 件。下の一覧と同じ番号です。",
    no_picture="この子のきろくは、まだありません。「書く」から始めてください。",
    experience="できごと",
    turn="質問",
    entries="きろくの一覧（新しい順）。ひとつ選ぶと、くわしく見たり、消したりできます",
    older="もっと前のきろくも見る",
    details="選んだきろく",
    change_share="見せる相手を変える（わたしだけ ⇄ 仲間にも）",
    shared_now="仲間にも見せるようにしました。",
    unshared_now="わたしだけのきろくにしました。",
    mend="答えをなおす",
    forget="このきろくを消す",
    forget_cat="この子のきろくをぜんぶ消す",
    sure="消すと、もとに戻せません。ほんとうに消しますか。",
    yes="はい、消します",
    no="やめる",
    forgotten="{count} 件を消しました。つぎの公開データには入りません。",
    quoted="これを引用したやりとり {count} 件も、外に出ないようにしました。",
    still_published="すでに公開された版にはまだ残っています：{where}。管理者に、消すよう伝えてください。"
    "ほかの人が写したものは取り戻せません。",
    choose_entry="さきに、一覧からきろくをひとつ選んでください。",
    mine="わたし",
    permissions="使ってよいかどうか",
    train="学習に使ってよい（わたしの書いたことを、機械の学習に使う）",
    publish="公開してよい（わたしの書いたことを、だれでも読めるデータに入れる）",
    changed="変えました。",
    both_given="いまは両方とも「よい」です。つぎの公開データに入ることがあります。いつでも、ここで取り消せます。"
    "「わたしだけ」のきろくと、それを引いたやりとりは出ません。",
    not_both="両方そろっていないので、書いたことは外に出ません。",
    full_text="くわしい説明を読む",
    take_along="わたしのきろくをぜんぶ保存する",
    take_along_hint="保存したもの",
    taken="保存しました。ファイルが見あたらないときは、下の欄から写せます。",
    forget_me="わたしのきろくをぜんぶ消す",
    gone="きろくはすべて消えています。もういちど始めるときは、このページを動かしている人に頼んでください。",
    manage="管理",
    counts="いまのようす",
    counted="人 {contributors}、ねこ {cats}、できごと {experiences}、やりとり {turns}",
    leave="外に出せるやりとり：{count}",
    stay="とどまるやりとり（{code}）：{count}",
    refresh="数えなおす",
    export="公開用のデータを作る（stories.jsonl など）",
    exported="{folder} に作りました。",
    not_maintainer="ここは管理者だけが使えます。",
    too_fast="すこし急ぎすぎです。一分ほど待って、もういちど押してください。書いた文は消えていません。",
    signed_out="サインインが切れました。書いた文は消えていません。別のタブでこのページを開いてサインインし、もういちど押してください。",
    failed="うまくいきませんでした。書いた文は消えていません。もういちど押すか、このページを動かしている人に伝えてください。",
)

EN = Words(
    language="en",
    title="My cat's notes",
    lead="Write down what happens to your cat, and ask when you are worried.",
    other_language="日本語",
    sign_out="Sign out",
    which_cat="Which cat is it about?",
    new_cat="A new cat",
    cat_name="The cat's name",
    cat_name_hint="For example: Koharu",
    choose_cat="First choose above which cat it is about.",
    write="Write",
    date="When",
    seen="What did you see?",
    seen_hint="For example: five sneezes since morning, eats as always.",
    done="What did you do? (may stay empty)",
    done_hint="For example: to the vet the next day, tablets for a week.",
    outcome="What came of it? (leave empty if it is not over)",
    outcome_hint="For example: it stopped after five days.",
    feeling="How did you feel? (may stay empty)",
    feeling_hint="For example: glad that we went early.",
    share="Who may read it?",
    only_me="Only me",
    group="My group, too",
    no_names="Please write no names of people, no addresses and no telephone numbers.",
    keep="Keep this note",
    kept='Your note is kept. Read it again under "Look" whenever you like.',
    ask="Ask",
    question="What would you like to know about this cat?",
    question_hint="For example: she sneezes and is a little tired.",
    feeling_now="How do you feel now? (may stay empty)",
    feeling_now_hint="For example: worried.",
    send="Ask this",
    asked="Your question is kept.",
    no_model="No machine that answers is connected here. If you are worried, do not wait, and call your vet."
    " What you find out later can be written below.",
    own="From this cat's own past",
    others="From the cats of your group",
    nothing="There is no similar note yet.",
    thinking="The answer is being written. It may take two minutes.",
    answer="Answer (written by a machine; when in doubt, ask your vet)",
    answered="Here is an answer. Please say below whether it helped.",
    model_fails="The machine gave no answer just now. Your question is not lost."
    " Try again, or write your own answer below.",
    model_busy="Others are being answered just now. Your question is not lost. Wait a little and choose"
    ' "Have it answered again".',
    again="Have it answered again",
    verdict="Did this answer help?",
    up="It helped",
    down="I think it is wrong",
    correction="What would have been the right answer, or what have you found out?",
    correction_hint="Your words become the model for the next answer.",
    judge="Send",
    judged="Thank you. We have it.",
    choose_verdict='Choose "It helped" or "I think it is wrong", or write an answer.',
    nothing_asked='Ask a question first, with "Ask this".',
    look="Look",
    picture="The notes of this cat, from {first} to {last}: {told} experiences, {asked} questions."
    " The numbers are those of the list below.",
    no_picture='There is no note of this cat yet. Begin under "Write".',
    experience="Experience",
    turn="Question",
    entries="The notes, newest first; choose one to read all of it, or to delete it",
    older="Show older notes, too",
    details="The chosen note",
    change_share="Change who may read it (only me ⇄ my group, too)",
    shared_now="Your group may read it now.",
    unshared_now="Only you can read it now.",
    mend="Correct the answer",
    forget="Delete this note",
    forget_cat="Delete all notes of this cat",
    sure="What is deleted cannot be brought back. Do you really want to delete it?",
    yes="Yes, delete it",
    no="Keep it",
    forgotten="{count} deleted. The next published data will not hold it.",
    quoted="{count} turns that quoted it are held back, too.",
    still_published="Published revisions still hold it: {where}. Please ask the maintainer to remove it."
    " Copies that others made cannot be called back.",
    choose_entry="First choose a note from the list.",
    mine="Me",
    permissions="What may be done with it",
    train="It may be used for training (a model learns from what I wrote)",
    publish="It may be published (what I wrote becomes data that everybody can read)",
    changed="Changed.",
    both_given="Both are allowed now. What you wrote may be in the next published data. Take it back here at any time."
    ' Notes for "Only me", and what quotes them, never are.',
    not_both="Without both of them, nothing that you wrote leaves this place.",
    full_text="Read the full explanation",
    take_along="Save everything that is mine",
    take_along_hint="Everything that is yours",
    taken="Here it is. If no file was saved, copy it from the field below.",
    forget_me="Delete everything that is mine",
    gone="Everything of yours is deleted. To begin again, ask whoever runs this page.",
    manage="Manage",
    counts="How things stand",
    counted="people {contributors}, cats {cats}, experiences {experiences}, turns {turns}",
    leave="turns that may leave: {count}",
    stay="turns that stay ({code}): {count}",
    refresh="Count again",
    export="Write the data (stories.jsonl and the others)",
    exported="Written to {folder}.",
    not_maintainer="Only a maintainer can use this.",
    too_fast="That was a little fast. Wait a minute and try again. What you typed is still there.",
    signed_out="You are signed out. What you typed is still there."
    " Open this page in another tab, sign in, and try again.",
    failed="That did not work. What you typed is still there. Try again, or tell whoever runs this page.",
)

_FIELDS = {
    "cat": "cat_name", "date": "date", "seen": "seen", "done": "done", "outcome": "outcome", "feeling": "feeling",
    "question": "question", "correction": "correction",
}  # fmt: skip

# What the store says, as somebody who never saw a terminal can understand it: pattern, Japanese, English.
_SAID = (
    (
        r"(?P<field>\w+): has (?P<have>[\d,]+) characters, (?P<most>[\d,]+) are allowed",
        "「{field}」が長すぎます（{have} 文字）。{most} 文字までにしてください。書いた文は消えていません。",
        '"{field}" is too long ({have} characters). At most {most}, please. What you typed is still there.',
    ),
    (
        r"(?P<field>\w+): is blank",
        "「{field}」が空です。書いてください。",
        '"{field}" is empty. Please write something.',
    ),
    (
        r"(?P<field>\w+): character (?P<at>[\d,]+) ",
        "「{field}」の {at} 文字目に、使えない記号があります。消してください。",
        '"{field}" holds a sign that cannot be used, at character {at}. Please delete it.',
    ),
    (
        r"date: .* is not between",
        "「いつ」は、きょうまでの日付にしてください。",
        '"When" must not be later than today.',
    ),
    (r"date: ", "「いつ」は 2024-11-08 のように書いてください。", 'Write "When" like 2024-11-08.'),
    (
        r"\S+: the correction is the answer itself",
        "なおした答えが、もとの答えと同じです。そのままでよければ「役に立った」を選び、下の欄は空にしてください。",
        'The correction is the answer itself. If it is fine, choose "It helped" and leave the field below empty.',
    ),
    (
        r"\S+ has no answer yet",
        "まだ答えがありません。ご自分の答えを書いてください。",
        "There is no answer yet. Please write your own.",
    ),
    (r"you have nothing with the id", "そのきろくは、もうありません。", "That note is not there any more."),
    (r"there is no contributor", JA.gone, EN.gone),
    (r"\S+ has an answer already", "答えはもう届いています。", "It has an answer already."),
    (
        r"\S+ was changed or withdrawn",
        "考えているあいだに、もとのきろくが消されました。もういちど聞いてください。",
        "Meanwhile a note it was made from was deleted. Please ask again.",
    ),
)  # fmt: skip


def explain(words: Words, error: str) -> str:
    """Say an error of the store in the page's words: never with a piece of what somebody typed.

    >>> explain(EN, "seen: has 1,200 characters, 1,000 are allowed; tell it in fewer words")
    '"What did you see?" is too long (1,200 characters). At most 1,000, please. What you typed is still there.'
    """
    for pattern, *said in _SAID:
        if found := re.match(pattern, error):
            parts = found.groupdict()
            field = _FIELDS.get(parts.get("field", ""), "")
            return said[words.language == "en"].format(**{**parts, "field": getattr(words, field) if field else ""})
    return words.failed
