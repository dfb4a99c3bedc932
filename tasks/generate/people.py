"""People: where a sentence names a person, by a title, a given name or initials before a name.

Known are titles and frequent given names of languages written in Latin letters and in Cyrillic; names that are also
words or places (Mark, Will, Virginia) are left out, since a capital then says nothing. In scripts without capitals no
name is found.
"""

import re
from collections.abc import Sequence

_TITLES = frozenset(
    re.findall(
        r"\w+",
        """
    mr mrs ms miss dr prof professor sir madam lord lady dame king queen prince princess president senator governor
    mayor judge justice captain colonel major general sergeant lieutenant inspector minister ambassador congressman
    congresswoman reverend rev bishop sister brother father herr frau dott monsieur madame mme mademoiselle mlle señor
    señora señorita sr sra srta don doña dom senhor senhora signor signora dottor meneer mevrouw pan pani herra rouva
    господин госпожа доктор профессор президент сенатор
    """,
    )
)
_GIVEN = frozenset(
    re.findall(
        r"\w+",
        """
        aaron abdul abigail adam adrian agnes ahmad ahmed aisha akira alan albert alberto alejandro alessandro
        alex alexander alexandra alexei alfred ali alice alicia alison amanda amber amelia amina amir amit amy
        ana anastasia andrea andreas andrei andrew andrzej angela anil anita anja ann anna anne annette annie
        anthony anton antonio anya arjun arthur asha astrid barbara beatrice beatriz benjamin bernard beth
        bettina bob boris brad brandon brenda brian bridget bruce bruno bryan camila carl carla carlos carmen
        caroline carolyn catherine cecilia cedric celine charles chen chiara chloe chris christina christine
        christoph christopher claire clara claudia clive colin connie craig cristina cynthia damian dan daniel daniela
        danielle darren dave david deborah deepak denise dennis derek diana diane diego dieter dimitri dirk
        dmitri dominic donald donna dorothy doug douglas duncan ed eddie edith eduardo edward edwin eileen
        elaine elena eleanor eli elias elisabeth elise elizabeth ellen elsa emil emilia emily emma enrique eric
        erica erik erika erin ernesto ernst esther ethan eugene eva evelyn fabio farah fatima federico felipe
        felix fernando fiona francesca francesco francis francisco franz fred frederick friedrich gabriel
        gabriela gareth gary geoffrey georg george gerald gerard gerhard gianni gilbert gina giorgio giovanni
        giulia giuseppe gloria gordon graham greg gregory greta guillermo gunther gustav guy hannah hans harold
        harriet harry hassan heather hector heidi heinrich helen helena helga henrik henry herbert hermann
        hilary hiroshi holger howard hugh hugo ian ibrahim igor ines inge ingrid irene irina isaac isabel
        isabella ivan ivana jacob jacques jaime jake james jamie jan jane janet janice jasmine jason javier jean
        jeff jeffrey jennifer jens jeremy jerome jerry jesse jessica jill jim joan joanna joao joaquin joe johan
        johann johanna johannes john johnny jonas jonathan jorge jose josef joseph joshua juan juanita judith
        judy julia julian julie julien jun jürgen justin kamal karen karin karl karla kate katherine kathleen
        kathryn kathy katie katja katrin keith kelly ken kenji kenneth kevin khalid kim klaus kristen kristina
        kurt kyle larry laura lauren laurence laurent lawrence leila lena leo leon leonard leonardo leslie liam
        lila linda lisa liz lorenzo louis louise luc luca lucas lucia lucy luigi luis luisa lukas luke lydia
        lynn magdalena mahmoud manuel manuela marc marcel marcia marco marcus margaret margarita maria mariam
        marianne marie marina mario marion marjorie marta martha martin martina mary massimo mathias matteo
        matthew matthias maureen maurice max megan mei melanie melissa mercedes michael michel michele michelle
        miguel mikhail mohamed mohammad mohammed monica monika moritz muhammad nadia nancy naomi natalia natalie
        natasha nathan neil nelson nicholas nick nicola nicolas nicole nigel nikolai nina noah nora norman olaf
        olga oliver olivia omar oscar otto owen pablo pamela paola paolo patricia patrick paul paula paulo
        pauline pedro peggy penelope peter petra philip philippe phillip pierre pietro piotr priya rachel rafael
        rahul raj rajesh ralph ramon raul raymond rebecca reinhard rene ricardo riccardo richard rita robert
        roberta roberto robin rodrigo roger roland ronald rosa rosemary roy rudolf russell ruth ryan sabine
        sabrina sally salvatore sam samantha samir samuel sandra sanjay sara sarah sayed scott sean sebastian
        sergei sergio sharon sheila shirley silvia simon simone sofia sonia sophia sophie stefan stefania
        stefano steffen stephan stephanie stephen steve steven stuart sunil susan susanne suzanne svetlana sven
        sylvia takashi tamara tania tanya tara tatiana ted teresa terence terry theodore theresa thomas tiffany
        tim timothy tina tobias todd tom tomas tommy tony tracy trevor uwe valentina valeria vanessa vera
        veronica vicente victor viktor vincent vincenzo vivian vladimir walter wang wei wendy werner wilhelm
        william wolfgang xavier yasmin yolanda youssef yuki yuri yusuf yvonne zachary zainab zoe александр
        алексей анна андрей борис виктор владимир дмитрий екатерина елена иван ирина мария михаил наталья
        николай ольга павел пётр сергей татьяна юрий
        """,
    )
)
_PARTICLES = frozenset(re.findall(r"\w+", "de del della der den di da dos du la le van von zu ten ter bin ibn al el y"))
# What may stand between the words of one name.
_BETWEEN = re.compile(r"\.?[ \u00a0]?|[-’'.]")
# A town or a church is no person.
_PLACES = frozenset(re.findall(r"\w+", "san santa são st saint sankt fort mount lake cape port los las"))
_MOST = 5


def people(text: str, words: Sequence[re.Match[str]]) -> list[range]:
    """Return where people are named, as ranges of places in `words`, in order, without their titles.

    words: the words of one sentence of the text, as matches in it.
    """
    found: list[range] = []
    place = 0
    while place < len(words):
        begin = place
        place += 1
        plain = words[begin].group().lower().removesuffix("'s").removesuffix("’s")
        if not words[begin].group()[0].isupper() or (begin and words[begin - 1].group().lower() in _PLACES):
            continue
        is_title, is_initial = plain in _TITLES, len(plain) == 1 and text[words[begin].end() :][:1] == "."
        end = _end(text, words, begin)
        if end - begin > 1 and (is_title or is_initial or plain in _GIVEN):
            found.append(range(begin + is_title, end))
            place = end
    return found


def _end(text: str, words: Sequence[re.Match[str]], begin: int) -> int:
    """Return the place behind the last word with a capital of a name that begins here."""
    end = place = begin + 1
    while place < min(len(words), begin + _MOST) and _BETWEEN.fullmatch(
        text, words[place - 1].end(), words[place].start()
    ):
        if words[place - 1].group()[-2:] in ("'s", "’s"):
            break
        word = words[place].group()
        place += 1
        if word[0].isupper():
            end = place
        elif word not in _PARTICLES:
            break
    return end
