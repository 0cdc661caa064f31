"""Made-up worlds: files of people in which it is known who is who, to judge matching with.

    python -m benchmarks.worlds --rows 100000 --seed 1 --output people.csv --truth truth.csv

A world is a mix of rates (`WORLDS`). Homes are made first, with the people who live there; each of
them is then seen one to six times, and every sight is one row: it leaves things out, it is of
before or after a move, a wedding, a new phone or e-mail, and somebody mistyped it. All rows of a
person are drawn alike: none is the right one. What makes it hard is drawn, too: families share a
landline, an e-mail and an address, a son is called as his father, strangers have one name in one
city, colleagues have one switchboard.

Names are those of `demo.names` as the most frequent, and after them others of the language, most
of them put together from parts; how often one occurs falls with its rank, as in a census. Any
likeness to real people is chance. Private e-mails and mobiles belong to one person, unless somebody
wrote them wrong. Postcodes have the shape of their country, and are otherwise made up.

`held_1` and `held_2` are for judging alone: nothing may be tuned with them in sight. They have
other countries, other ways to write, short forms that no list has, and sources that differ in care.

The same seed gives the same file. Rows are made in one order whatever the size, so that a larger
file has all rows of a smaller one; but they are shuffled and numbered afterwards, so that a smaller
file is not the beginning of a larger one. Kept in memory are `SHUFFLED` rows, the names, and a bit
for each e-mail and phone in use.
"""

from __future__ import annotations

import argparse
import csv
import re
import unicodedata
from bisect import bisect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, fields, replace
from functools import cache, lru_cache
from itertools import accumulate, islice
from pathlib import Path
from random import Random
from typing import Generic, TypeVar
from zlib import crc32

from nicknames import NickNamer

from demo.names import COUNTRIES, Country, Name

COLUMNS = (
    "id", "first_name", "middle_name", "last_name", "gender", "birth_date", "email", "phone",
    "street", "city", "postcode", "country", "company",
)  # fmt: skip
SPARSE_COLUMNS = ("id", "first_name", "last_name", "birth_date", "postcode")
SHUFFLED = 50_000  # rows among which the next one is drawn

Row = dict[str, str]  # cells by column
_LISTS = Path(__file__).parent.parent / "service" / "core" / "names"


# What the worlds are.


@dataclass(frozen=True, slots=True)
class World:
    """Rates of what occurs; of rows, unless another whole is named."""

    about: str
    columns: tuple[str, ...] = COLUMNS
    countries: Mapping[str, int] = field(default_factory=dict)  # weights; those of the demo if none
    repeats: tuple[float, ...] = (0.84, 0.11, 0.03, 0.012, 0.005, 0.003)  # people, by rows of each
    # Of homes: those with several customers; of these: father and son of one name, twins.
    families: float = 0.14
    juniors: float = 0.04
    twins: float = 0.03
    namesakes: float = 0.01  # of people: called as a stranger of the same city
    # Of people: their lives.
    moves: float = 0.25
    weds: float = 0.12  # and takes another last name; or both, with a hyphen
    new_phone: float = 0.25
    new_email: float = 0.2  # often a change of provider alone
    employed: float = 0.35
    # What is left out, by column; and how names and contact points are given.
    missing: Mapping[str, float] = field(
        default_factory=lambda: {
            "first_name": 0.015, "middle_name": 0.6, "last_name": 0.008, "gender": 0.35,
            "birth_date": 0.4, "email": 0.25, "phone": 0.3, "street": 0.35, "city": 0.2,
            "postcode": 0.25, "country": 0.1, "company": 0.5,
        }
    )  # fmt: skip
    landline: float = 0.15  # the phone of the home, instead of one's own
    family_email: float = 0.04
    at_work: float = 0.15  # switchboard or info@, of those employed
    placeholder: float = 0.006  # of phones and e-mails: 0000000000, noemail@…
    # What goes wrong or is written otherwise.
    typo: float = 0.035  # in each of first name, last name, street, city and e-mail
    digit: float = 0.015  # another digit or two changed places, in birth date, phone, postcode
    nickname: float = 0.06
    clipped: float = 0.2  # of nicknames: made by clipping, so that no list has them
    initial: float = 0.025  # of first names
    swapped: float = 0.015  # first and last name
    script: float = 0.08  # in Latin letters, or with the marks dropped
    joined: float = 0.02  # the middle name beside the first
    upper: float = 0.04
    blanks: float = 0.02
    month_first: float = 0.012  # of birth dates: day and month swapped
    year_only: float = 0.02  # 1 January
    no_date: float = 0.01  # 1900-01-01 or the like
    wrong_gender: float = 0.015
    shortened: float = 0.3  # of streets: St. for Street
    zero_lost: float = 0.01  # of postcodes that begin with zeros: what a spreadsheet does
    tagged: float = 0.04  # of e-mails: a tag, or dots where they do not count
    dates: str = "{0:04}-{1:02}-{2:02}"
    phones: tuple[str, ...] = (
        "plus",
        "plus",
        "grouped",
        "national",
        "national",
        "dashed",
        "dotted",
    )
    # How careless sources are: the rates of what goes wrong are multiplied by one of these a row.
    sources: tuple[float, ...] = (1.0,)


_ALL_BUT = dict.fromkeys(
    ("middle_name", "gender", "email", "phone", "street", "city", "country", "company"), 1.0
)

WORLDS = {
    "mixed": World("a CRM of many countries: some of everything"),
    "clean": World(
        "well kept: few slips, most cells filled",
        missing={
            "first_name": 0.002, "middle_name": 0.5, "last_name": 0.001, "gender": 0.1,
            "birth_date": 0.12, "email": 0.1, "phone": 0.12, "street": 0.12, "city": 0.05,
            "postcode": 0.08, "country": 0.02, "company": 0.3,
        },
        typo=0.006, digit=0.003, nickname=0.03, initial=0.005, swapped=0.003, script=0.03,
        upper=0.005, blanks=0.003, month_first=0.002, year_only=0.004, no_date=0.001,
        wrong_gender=0.003, placeholder=0.001, zero_lost=0.0, moves=0.15,
    ),
    "dirty": World(
        "put together from old lists: much is missing, much is wrong",
        repeats=(0.8, 0.13, 0.04, 0.02, 0.007, 0.003),
        missing={
            "first_name": 0.04, "middle_name": 0.75, "last_name": 0.03, "gender": 0.5,
            "birth_date": 0.55, "email": 0.4, "phone": 0.4, "street": 0.45, "city": 0.3,
            "postcode": 0.4, "country": 0.25, "company": 0.6,
        },
        typo=0.1, digit=0.05, nickname=0.12, initial=0.08, swapped=0.05, script=0.15, joined=0.05,
        upper=0.12, blanks=0.06, month_first=0.04, year_only=0.05, no_date=0.03, wrong_gender=0.04,
        placeholder=0.025, zero_lost=0.2, tagged=0.06, moves=0.35, new_phone=0.35, new_email=0.3,
    ),
    "families": World(
        "homes with several customers, who share landline, e-mail, address and sometimes the name",
        families=0.6, juniors=0.18, twins=0.08, landline=0.4, family_email=0.2,
    ),
    "sparse": World(
        "a register: names, birth date and postcode, and nothing else",
        columns=SPARSE_COLUMNS,
        missing=_ALL_BUT
        | {"first_name": 0.01, "last_name": 0.005, "birth_date": 0.05, "postcode": 0.08},
        repeats=(0.82, 0.13, 0.03, 0.013, 0.005, 0.002), no_date=0.02, year_only=0.03,
    ),
    "namesakes": World(
        "many strangers with one name in one city", namesakes=0.25, families=0.1, employed=0.5
    ),
    "held_1": World(
        "held back: Europe and Russia, dates with dots, sources of very different care",
        countries={
            "DE": 10, "PL": 14, "RU": 14, "UA": 9, "FR": 12, "IT": 9, "GR": 7, "ES": 6, "GB": 8,
        },
        repeats=(0.86, 0.07, 0.04, 0.016, 0.009, 0.005),
        families=0.22, juniors=0.07, twins=0.015, namesakes=0.02, moves=0.18, weds=0.18,
        new_phone=0.33, new_email=0.14, employed=0.2,
        missing={
            "first_name": 0.008, "middle_name": 0.45, "last_name": 0.004, "gender": 0.55,
            "birth_date": 0.27, "email": 0.36, "phone": 0.22, "street": 0.24, "city": 0.12,
            "postcode": 0.31, "country": 0.3, "company": 0.7,
        },
        landline=0.27, at_work=0.22, placeholder=0.011, typo=0.028, digit=0.022, nickname=0.085,
        clipped=0.55, initial=0.04, swapped=0.028, script=0.17, joined=0.035, upper=0.09,
        blanks=0.035, month_first=0.006, year_only=0.035, no_date=0.004, wrong_gender=0.008,
        shortened=0.5, zero_lost=0.06, tagged=0.02, dates="{2:02}.{1:02}.{0:04}",
        phones=("slashed", "national", "bare", "zeros", "grouped"), sources=(0.2, 0.6, 1.2, 3.5),
    ),
    "held_2": World(
        "held back: Americas, Asia and Egypt, phones of a spreadsheet, careless sources",
        countries={
            "US": 18, "BR": 13, "MX": 12, "IN": 15, "JP": 7, "CN": 7, "EG": 5, "GB": 6, "ES": 4,
        },
        repeats=(0.79, 0.15, 0.03, 0.017, 0.008, 0.005),
        families=0.1, juniors=0.09, twins=0.05, namesakes=0.035, moves=0.4, weds=0.07,
        new_phone=0.17, new_email=0.31, employed=0.45,
        missing={
            "first_name": 0.02, "middle_name": 0.7, "last_name": 0.015, "gender": 0.2,
            "birth_date": 0.52, "email": 0.17, "phone": 0.35, "street": 0.48, "city": 0.3,
            "postcode": 0.33, "country": 0.04, "company": 0.35,
        },
        landline=0.08, family_email=0.09, at_work=0.09, placeholder=0.016, typo=0.05, digit=0.011,
        nickname=0.045, clipped=0.4, initial=0.05, swapped=0.009, script=0.05, joined=0.08,
        upper=0.14, blanks=0.05, month_first=0.022, year_only=0.012, no_date=0.02,
        wrong_gender=0.026, shortened=0.2, zero_lost=0.25, tagged=0.09,
        phones=("bare", "bare", "national", "plus", "dashed", "zeros"), sources=(0.5, 0.9, 2.2),
    ),
}  # fmt: skip


# What people are called: the names of the demo first, then others of the language.


def _spaced(text: str) -> list[str]:
    """Read words, "_" for a space within one."""
    return [word.replace("_", " ") for word in text.split()]


def _rules(text: str) -> tuple[tuple[str, str], ...]:
    """Read "old>new" words."""
    split = (word.partition(">") for word in text.split())
    return tuple((old, new) for old, _, new in split)


def _pairs(text: str) -> list[Name]:
    """Read "native=Latin" words; without "=" the name is in Latin letters already."""
    split = (word.partition("=") for word in _spaced(text))
    return [(native, latin or native) for native, _, latin in split]


@dataclass(frozen=True, slots=True)
class Tongue:
    """Further names of a language; surnames and towns are stems with endings."""

    female: str = ""
    male: str = ""
    doubled: str = ""  # first names that make compounds with others
    last: str = ""
    stems: str = ""
    endings: str = ""
    towns: str = ""  # endings or, with a space after each, beginnings of names of towns
    town_first: str = ""
    roads: str = ""  # "{w}" is a name, "{n}" a number
    words: str = ""  # that roads are called by, beside surnames


_EN = Tongue(
    female="""
        Abby Adele Agnes Alexandra Alison Amanda Amber Amy Andrea Angela Ann Anna Annabel Anne
        April Audrey Beatrice Bernadette Bethany Beverly Bonnie Brenda Bridget Brittany Caroline
        Carol Catherine Cecilia Cheryl Christina Christine Cindy Claire Clara Colleen Courtney
        Cynthia Danielle Dawn Debra Denise Diana Diane Donna Doris Dorothy Edith Eileen Elaine
        Ellen Erin Esther Eva Faith Frances Gabrielle Gail Georgia Gloria Gwendolyn Hazel Heather
        Heidi Helen Holly Irene Jacqueline Jane Janet Janice Jean Jessica Joan Joanna Jodie
        Josephine Joy Joyce Judith Julia Julie Karen Kathleen Kayla Kelly Kimberly Kirsty Kristen
        Laura Lauren Leah Lesley Lois Lorraine Louise Lucy Lydia Marie Marilyn Martha Mary Maureen
        Megan Melanie Melissa Michelle Molly Monica Nancy Naomi Nicole Pamela Paula Rachel Rebecca
        Rosemary Ruth Samantha Sandra Sarah Sharon Shirley Stephanie Tamara Tara Teresa Theresa
        Tina Tracy Valerie Vanessa Vera Virginia Vivian Wendy Yvonne Zara
    """,
    male="""
        Aaron Adam Adrian Alan Albert Alfred Allan Andrew Angus Arnold Austin Barry Bernard Bradley
        Brandon Brendan Brent Brian Bruce Bryan Calvin Cameron Carl Cecil Cedric Charles Chester
        Clarence Clifford Clive Colin Connor Craig Curtis Dale Darren Dean Dennis Derek Desmond
        Dominic Donald Douglas Duncan Dustin Dylan Earl Edgar Edmund Edwin Eric Ernest Eugene Felix
        Francis Frank Franklin Frederick Gareth Gary Geoffrey Gerald Gilbert Glenn Gordon Graham
        Grant Gregory Harold Harvey Herbert Howard Hugh Ian Ivan Jason Jeffrey Jeremy Jerome Jesse
        Jonathan Jordan Joshua Justin Keith Kenneth Kevin Kyle Lance Larry Lawrence Leonard Leslie
        Lewis Lloyd Louis Malcolm Marcus Mark Marshall Martin Matthew Maurice Max Melvin Mitchell
        Morris Nathan Neil Neville Nicholas Norman Patrick Paul Peter Philip Ralph Raymond Reginald
        Roger Roland Ronald Ross Roy Russell Ryan Scott Sean Shane Simon Spencer Stanley Stephen
        Steven Stuart Terence Timothy Travis Trevor Tyler Vernon Victor Vincent Walter Warren Wayne
        Wesley Zachary
    """,
    doubled="Mary Anna",
    last="""
        Armstrong Ashby Atkinson Bailey Barker Barnes Barrett Bates Bell Berry Bishop Black Booth
        Bowen Boyd Bradley Brady Brooks Bryant Burgess Burke Burns Burton Butler Byrne Carr Carroll
        Chambers Chapman Cole Coleman Collins Cook Cox Craig Crawford Cunningham Curtis Daly
        Davidson Dawson Day Dean Dixon Doherty Douglas Doyle Duncan Dunn Elliott Ellis Ferguson
        Fisher Fitzgerald Fleming Ford Foster Fowler Fox Francis Fraser Freeman Gallagher George
        Gibson Gilbert Gordon Graham Grant Gray Gregory Griffin Griffiths Hamilton Hardy Harper
        Hart Harvey Hawkins Hayes Henderson Henry Hicks Higgins Holland Holmes Hopkins Houghton
        Howard Howell Hudson Hunt Hunter Hussain Hutchinson Ingram Jenkins Jennings Johnston Jordan
        Kaur Kelly Kennedy Kerr Knight Lamb Lane Lawrence Lawson Lloyd Long Lowe Lynch Marsh
        Marshall Mason Matthews May McCarthy McDonald McKenzie Mills Morgan Morrison Mullen Murphy
        Murray Myers Newman Newton Nicholls Nolan Norris O'Connor O'Donnell O'Reilly Oliver Osborne
        Owen Page Palmer Parsons Payne Pearce Pearson Perkins Perry Peters Phillips Pierce Poole
        Porter Potter Powell Power Price Quinn Read Reid Reynolds Rice Richards Richardson Riley
        Robertson Rogers Rose Ross Russell Ryan Saunders Sharp Shaw Shepherd Simpson Spencer
        Stephenson Stevens Stewart Stone Sullivan Sutton Thomson Tucker Wallace Walsh Warren
        Watkins Watson Watts Webb Webster Weaver Wells West Wheeler Williamson Willis Woods Wyatt
        Yates
    """,
    stems="""
        Ack Alder Ash Bar Beck Ben Birch Black Blake Brad Bram Brock Burn Cald Carl Chad Chester
        Clay Clif Col Cran Craw Cross Cul Dal Dun East El Em Fair Fen Fin Fox Glad Gold Gran Green
        Had Hal Ham Har Hart Hather Hay Hazel High Hol Horn Hunt Kemp Ken King Kirk Lang Lin Long
        Lud Mal Mar Mead Mel Mid Mil Mor Nor North Oak Old Pem Pres Rad Red Ridge Rock Ros Rush
        Sand Sel Shel Sher Stan Stock Sut Tal Thorn Til Ul Wake Wal Wat Wes Whit Wil Win Wood Wy
        Yar
    """,
    endings="""
        ford ley ton well wood worth field bury man by ham den ridge shaw wick land more stone
        croft bourne combe dale gate head hurst low ming ner ning son cott
    """,
    towns="ton ford bury ham field mouth port ville burg chester wick dale",
    roads="""
        {n}_{w}_Street {n}_{w}_Road {n}_{w}_Avenue {n}_{w}_Drive {n}_{w}_Lane {n}_{w}_Court
        {n}_{w}_Street,_Apartment_{m} {n}_{w}_Boulevard {n}_{w}_Close
    """,
    words="""
        Oak Maple Cedar Pine Elm Washington Lincoln Jefferson Park Lake Hill River Sunset Highland
        Church Spring Ridge Walnut Chestnut Willow Main High Station Mill Victoria Queens Kings
        Green Manor Grange Orchard Meadow School North South West Albert George York
    """,
)
_DE = Tongue(
    female="""
        Alexandra Alina Andrea Angelika Anita Annette Astrid Barbara Beate Brigitte Britta Carola
        Charlotte Christa Christiane Christina Cornelia Daniela Doris Dorothea Edith Elfriede
        Elisabeth Elke Erika Eva Franziska Gabriele Gerda Gertrud Gudrun Hannelore Hedwig Helga
        Hildegard Ilse Ines Inge Ingrid Irmgard Isabel Jana Janina Jasmin Jessica Julia Karin Karla
        Katja Kerstin Kirsten Kristin Laura Lisa Lotte Lucia Magdalena Manuela Margarete Margit
        Marianne Marion Marlene Martha Martina Melanie Mechthild Miriam Nadine Nele Nicole Nina
        Paula Pia Regina Rita Rosemarie Roswitha Ruth Sandra Sarah Simone Sonja Sophie Stefanie
        Susanne Svenja Sybille Tanja Theresa Ulrike Ute Vanessa Vera Verena Veronika Waltraud
        Yvonne
    """,
    male="""
        Adrian Albert Alexander Alfred Alois Arne Arthur August Axel Benedikt Benjamin Bernhard
        Bruno Carsten Christian Christoph Clemens Daniel David Detlef Dieter Dirk Dominik Eberhard
        Eckhard Egon Erich Ernst Erwin Eugen Fabian Florian Frank Franz Friedrich Fritz Georg Gerd
        Gerhard Gregor Günther Hans Harald Hartmut Heiko Heinrich Heinz Helmut Herbert Hermann
        Holger Horst Hubert Ingo Jan Jens Joachim Jochen Johannes Josef Julian Kai Karl Konrad Kurt
        Lars Leonhard Lothar Ludwig Lutz Manfred Marc Marcel Marco Marius Markus Martin Max Michel
        Niklas Nils Norbert Olaf Oliver Oskar Otto Pascal Patrick Peter Philipp Rainer Ralf
        Reinhard Robert Roland Rolf Rudolf Rüdiger Sascha Sebastian Siegfried Simon Stephan Steffen
        Sven Theodor Thorsten Tim Tobias Tom Torsten Udo Ulrich Valentin Viktor Volker Walter
        Werner Wilhelm Willi
    """,
    doubled="Hans Karl Anna Eva Marie Klaus",
    last="""
        Albrecht Arnold Bach Beck Berger Bergmann Böttcher Brandt Busch Dietrich Engel Ernst Franke
        Frank Friedrich Graf Günther Haas Hahn Heinrich Horn Jäger Jahn Keller Kraus Kuhn Kühn
        Lorenz Ludwig Martin Möller Otto Peters Pfeiffer Pohl Roth Sauer Schäfer Scholz Schreiber
        Schubert Schuster Seidel Simon Sommer Stein Thomas Vogel Vogt Wenzel Winkler Winter Ziegler
        Demir Kaya Özdemir Nowak Kowalski Ivanov
    """,
    stems="""
        Acker Alt Baum Berg Birk Blum Boden Brand Breit Brun Buch Burg Dorn Eber Ecken Eich Eisen
        Erl Falken Feld Fels Fried Geiß Gold Grün Hagen Hart Hasel Heid Heim Herz Hoch Holz Hopf
        Kalten Kamp Kirch Kron Küster Lamm Lind Loh Mark Mühl Neu Nieder Nord Ober Ochsen Rau Reich
        Ritt Rosen Rot Sand Schaf Schell Schön Sieben Stahl Stein Stoll Tann Thal Uhl Wald Wall
        Weid Weiß Wend Wester Wies Wild Winkel Witt Wolfs
    """,
    endings="""
        mann er meier bach berg hofer ing ke stein feld hauser bauer brink horst inger el ler kamp
        müller ner heimer schmidt
    """,
    towns="hausen heim dorf bach berg burg stadt ingen feld brunn",
    roads="""
        {w}straße_{n} {w}weg_{n} {w}allee_{n} {w}gasse_{n} {w}platz_{n} {w}straße_{n}a {w}ring_{n}
    """,
    words="""
        Haupt Bahnhof Garten Linden Schiller Goethe Kirch Berg Schul Wiesen Ahorn Birken Mozart
        Rosen Tannen Mühlen Dorf Feld Wald Ring Bismarck Friedrich Wilhelm Post Markt Eichen Buchen
        Lessing
    """,
)
_FR = Tongue(
    female="""
        Adèle Agnès Alexandra Amandine Amélie Anaïs Andrée Angèle Anne Annick Antoinette Audrey
        Aurore Béatrice Bernadette Brigitte Capucine Carole Cécile Chantal Charlotte Christelle
        Christiane Christine Claire Clara Clémence Colette Coralie Corinne Danielle Delphine Denise
        Diane Dominique Édith Élisabeth Élise Élodie Émilie Estelle Eugénie Eva Evelyne Fanny
        Florence Gabrielle Geneviève Ginette Giselle Huguette Irène Jacqueline Janine Jeanne
        Jeannine Joëlle Josiane Julie Justine Karine Laetitia Laura Laure Laurence Léa Liliane
        Lucie Lucienne Ludivine Madeleine Margaux Marguerite Marine Marion Martine Mathilde Mélanie
        Michèle Mireille Morgane Muriel Myriam Nadine Nicole Noémie Océane Odette Pascale Patricia
        Paulette Pauline Raymonde Régine Renée Roxane Sabine Sandrine Sarah Simone Solange Sophie
        Stéphanie Suzanne Thérèse Valérie Virginie Viviane Yvette Yvonne
    """,
    male="""
        Adrien Albert Alexandre Alexis André Antoine Armand Arnaud Aurélien Baptiste Bastien
        Bernard Bertrand Bruno Camille Cédric Charles Christian Claude Clément Cyril Damien Daniel
        David Denis Didier Dominique Édouard Emmanuel Éric Ernest Eugène Fabien Fabrice Fernand
        Florian Francis Franck Gaston Gauthier Geoffroy Georges Gérard Gilbert Gilles Grégoire
        Guillaume Guy Henri Hervé Jacques Jérémy Joël Jonathan Joseph Julien Kévin Laurent Lionel
        Luc Lucien Marc Marcel Martin Mathieu Matthieu Maurice Maxence Maxime Mickaël Olivier
        Pascal Patrice Patrick Quentin Raymond Régis René Robert Roger Roland Romain Samuel
        Sébastien Serge Simon Sylvain Thibault Thierry Thomas Tristan Valentin Victor Vincent
        William Xavier Yann Yves Yvon
    """,
    doubled="Jean Marie Anne Pierre",
    last="""
        Adam Aubert Arnaud Barbier Baron Benoit Berger Bonnet Bourgeois Boucher Brun Brunet
        Carpentier Charles Clément Colin Collet Da_Silva David Denis Deschamps Duval Dumas Dupuis
        Étienne Fabre Fleury Gaillard Gautier Gérard Guillaume Henry Hubert Huet Jacquet Jean Joly
        Lacroix Le_Gall Leclerc Leclercq Lecomte Lemaire Lemoine Leroux Louis Lucas Marchand Marie
        Masson Mathieu Maillard Menard Meunier Meyer Michaud Millet Moulin Nicolas Noël Olivier
        Paris Payet Perrot Philippe Picard Pierre Poirier Prévost Remy Renard Renaud Rey Rivière
        Robin Roche Rodriguez Rolland Roger Roussel Roy Royer Schmitt Vidal
    """,
    stems="""
        Ab Bar Bell Ber Blanch Bois Bon Bouch Bour Breg Cail Cam Cast Chamb Chant Chap Chat Clav
        Cord Coul Cour Dam Delm Dor Fab Faur Ferr Fleur Flor Font Frem Gail Gar Gir Gren Gros Guil
        Jac Jol Lab Lac Lang Lav Lég Lor Mal Marc Mas Maur Mer Mont Mor Nav Per Pell Pic Pont Pros
        Rav Ren Rob Roch Ros Sab Sal Sav Tall Tess Thib Tour Vall Vas Verd Vign Vill
    """,
    endings="ier eau et ot ard in ois on elle ault ay el illon ette aud ac ière ey",
    town_first="Saint- Villeneuve- Mont Château- Beau Pont- La_Roche-",
    roads="""
        {n}_rue_de_{w} {n}_avenue_{w} {n}_boulevard_{w} {n}_place_{w} {n}_chemin_{w}
        {n}_bis_rue_{w} {n}_impasse_{w} {n}_allée_{w}
    """,
    words="""
        Paris Victor_Hugo Pasteur Jean_Jaurès Gambetta la_République l'Église la_Gare Voltaire
        la_Mairie Lyon Verdun la_Liberté Molière Jules_Ferry la_Paix Strasbourg l'Hôpital
        la_Fontaine Clemenceau
    """,
)
_ES = Tongue(
    female="""
        Adela Adriana Agustina Alejandra Alicia Amalia Amparo Ana Andrea Antonia Aurora Beatriz
        Belén Blanca Camila Candela Catalina Cecilia Celia Concepción Consuelo Cristina Dolores
        Elena Elisa Elvira Emilia Encarnación Estefanía Esther Eugenia Eva Fátima Francisca
        Gabriela Gloria Gracia Graciela Inés Inmaculada Irene Isabel Josefa Juana Laura Leonor
        Lidia Lorena Lourdes Luisa Luz Magdalena Manuela Margarita Maribel Marina Marta Mercedes
        Miriam Mónica Montserrat Natalia Nieves Nuria Olga Paloma Patricia Raquel Remedios Rosa
        Rosario Sandra Silvia Soledad Sonia Susana Teresa Trinidad Vanesa Verónica Victoria
        Virginia Yolanda
    """,
    male="""
        Abel Agustín Aitor Alberto Alfonso Alfredo Alonso Amador Ángel Aníbal Arturo Aurelio
        Bartolomé Benito Bernardo Borja Bruno César Clemente Cristian Cristóbal Damián Domingo
        Eduardo Emilio Enrique Ernesto Esteban Eugenio Eusebio Federico Felipe Félix Fermín
        Fernando Francisco Gabriel Gerardo Germán Gonzalo Gregorio Guillermo Gustavo Héctor Ignacio
        Isidro Ismael Iván Jacinto Jaime Jerónimo Joel Juan Julián Julio Leandro Lorenzo Luis
        Marcelo Mariano Mauricio Miguel Moisés Octavio Pascual Patricio Pedro Rafael Raúl Ricardo
        Roberto Rodrigo Rogelio Rubén Salvador Samuel Santiago Saúl Sebastián Simón Teodoro Tomás
        Vicente Víctor
    """,
    doubled="María José Juan Ana Luis Francisco Miguel",
    last="""
        Acosta Aguado Aguirre Alarcón Alcalá Alcaraz Arias Aranda Arroyo Ayala Ballesteros Barrera
        Barrios Bautista Beltrán Benítez Bermúdez Bernal Blasco Bravo Bueno Caballero Cabello
        Cabrera Cáceres Calderón Calvo Camacho Campos Cano Carmona Carrasco Carrillo Casado
        Castellanos Castillo Conde Cordero Correa Cortés Crespo Cruz Cuesta Cuevas Duarte Durán
        Escobar Espinosa Esteban Estrada Exposito Ferrer Figueroa Fuentes Gallardo Gallego Galván
        Garrido Gimeno Giménez Guerra Guerrero Heredia Herrera Herrero Hidalgo Hurtado Ibáñez
        Izquierdo Jurado Lara León Lorenzo Luna Macías Maldonado Manzano Marcos Marqués Mateo Mejía
        Méndez Mendoza Menéndez Merino Miranda Montero Montes Mora Moya Navas Nieto Ochoa Olivares
        Orozco Otero Pacheco Padilla Palacios Pardo Parra Pascual Pastor Paz Peña Peralta Pineda
        Plaza Ponce Prieto Quintana Redondo Reyes Ríos Rivas Rivero Robles Roca Rojas Roldán
        Rosales Rueda Salas Salazar Salinas Santana Santiago Santos Sepúlveda Serra Sierra Silva
        Solís Soler Soriano Soto Tapia Toledo Trujillo Valdés Valencia Valero Vallejo Vargas Vega
        Velasco Vera Vicente Vidal Villa Villanueva Zamora
    """,
    stems="""
        Alb Arand Barr Cald Camp Carr Cast Fern Guti Her Lob Mald Mont Oliv Pal Ques Sald Val Vill
        Zam
    """,
    endings="ero ano al eda ares ín ón ado ales era osa uela",
    town_first="San Santa Villa Puerto Torre Fuente Valle",
    roads="""
        Calle_{w},_{n} Avenida_{w}_{n} Calle_de_{w}_{n},_{m}º_A Plaza_{w}_{n} Paseo_de_{w}_{n}
        Camino_de_{w}_{n}
    """,
    words="""
        Mayor Real Hidalgo Juárez Constitución Cervantes Colón Goya San_Juan Santa_Ana Libertad
        Norte Independencia Madero Morelos Alcalá Granada Sevilla Olivo Rosario
    """,
)
_IT = Tongue(
    female="""
        Adriana Agnese Alba Alessandra Alessia Anita Annamaria Antonella Antonietta Assunta Barbara
        Benedetta Bruna Carla Carlotta Carmela Carolina Caterina Cecilia Cinzia Claudia Cristina
        Daniela Debora Donatella Elisa Elisabetta Emanuela Emma Enrica Erika Eva Federica Fiorella
        Flavia Franca Gabriella Giovanna Giuliana Giuseppina Grazia Ilaria Irene Isabella Ivana
        Laura Letizia Licia Liliana Lisa Loredana Lorena Lucia Luisa Maddalena Manuela Margherita
        Maria Marina Marta Michela Milena Mirella Monica Nadia Nicoletta Ornella Patrizia Raffaella
        Rita Roberta Rosa Rosanna Rossella Sabrina Serena Simona Stefania Susanna Teresa Tiziana
        Valentina Valeria Vanessa Veronica Viola
    """,
    male="""
        Adriano Agostino Alberto Aldo Alessio Alfredo Angelo Armando Arturo Augusto Bruno Camillo
        Carlo Carmelo Cesare Christian Claudio Corrado Cosimo Cristian Cristiano Daniele Dario
        Domenico Donato Emanuele Emilio Enrico Ernesto Eugenio Fabio Fabrizio Fausto Felice
        Ferdinando Flavio Franco Gaetano Giacomo Gianluca Gianni Gino Giuliano Giulio Graziano
        Guido Ivan Jacopo Leo Luciano Luigi Manuel Marcello Mario Massimo Maurizio Mauro Michele
        Mirko Nicola Orazio Oreste Pasquale Patrizio Piero Raffaele Renato Renzo Rocco Rosario
        Sandro Sergio Silvano Silvio Tiziano Ugo Umberto Valerio Vincenzo Vito Vittorio Walter
    """,
    doubled="Maria Anna Gian",
    stems="""
        Alb Amb Andr Ant Bald Barb Bass Bell Bened Bern Bert Biag Bon Borg Cald Cam Cant Capp Car
        Cast Cat Cer Cim Colomb Cors Dom Don Fab Falc Farin Ferr Fior Franc Gall Garg Gast Gatt
        Ghed Giac Giann Grand Grass Lanz Laur Lor Luc Maf Magn Mant Marc Marin Mart Mass Mazz Mer
        Mol Mont Mor Mus Nard Nat Orl Pag Pal Parr Pas Pell Per Petr Piacent Pin Poll Quart Ram Rav
        Ric Rig Ross Sacc Salv Sart Sav Scal Sim Stef Tag Tedes Tom Tort Trev Urb Val Venn Verd Vig
        Zamb Zan
    """,
    endings="etti ini oni ucci ari elli ello ella ino acci ati ese iano ardi ente oli uzzi aro",
    town_first="San Monte Castel Santa Borgo Villa",
    roads="Via_{w}_{n} Corso_{w}_{n} Piazza_{w}_{n} Viale_{w}_{n} Via_{w}_{n}/B Vicolo_{w}_{n}",
    words="""
        Roma Garibaldi Dante Mazzini Cavour Verdi Marconi Matteotti Manzoni della_Libertà San_Marco
        Milano Torino dei_Mille Leopardi Carducci Galilei Colombo
    """,
)
_PT = Tongue(
    female="""
        Adriana Alessandra Aline Amanda Ana Andréia Ângela Aparecida Bárbara Bianca Bruna Carla
        Carolina Cláudia Cristiane Cristina Daniela Débora Denise Edna Elaine Eliane Elisângela
        Érica Eunice Fabiana Fátima Flávia Francisca Gabriela Giovana Gisele Inês Ingrid Íris
        Isabela Ivone Jéssica Joana Josefa Juliana Karina Larissa Letícia Lívia Lorena Lúcia Luana
        Luciene Luiza Márcia Margarida Marina Marlene Marta Michele Milena Mônica Natália Neusa
        Olívia Paula Priscila Raquel Rebeca Regina Renata Rita Roberta Rosa Rosana Sabrina Sandra
        Sara Silvana Simone Sônia Sueli Tânia Tatiane Teresa Vanessa Vera Verônica Vitória Viviane
        Yasmin
    """,
    male="""
        Adriano Afonso Alan Alberto Alexandre Alex Amauri Anderson André Artur Augusto Bruno Caio
        Carlos César Cláudio Cristiano Daniel Danilo Denis Diego Diogo Douglas Edson Eduardo Elias
        Emerson Enzo Erick Evandro Everton Fabiano Fábio Felipe Fernando Flávio Francisco Geraldo
        Gilberto Guilherme Gustavo Hélio Hugo Igor Ivan Jair Jefferson João Jonas Jorge José Júlio
        Leandro Leonardo Luan Luciano Luís Marcelo Márcio Marco Marcos Mário Maurício Mauro Nelson
        Otávio Paulo Raimundo Ramon Raul Reginaldo Renan Renato Ricardo Roberto Rodrigo Rogério
        Ronaldo Rubens Sebastião Sérgio Tiago Valdir Vicente Vinícius Vítor Wagner Wellington
        William
    """,
    doubled="Maria João Ana José Carlos Luiz",
    last="""
        Abreu Aguiar Amaral Amorim Antunes Azevedo Barros Batista Bezerra Borges Braga Brandão
        Brito Bueno Cabral Caldas Camargo Campos Castro Cavalcante Chagas Coelho Cordeiro Cruz
        Cunha Damasceno Dantas Domingues Duarte Farias Figueiredo Fonseca França Franco Furtado
        Garcia Godoy Guimarães Henriques Lacerda Leal Leite Lemos Lourenço Macedo Maia Marinho
        Matos Medeiros Meireles Mello Mesquita Miranda Monteiro Morais Mota Muniz Neves Novaes
        Pacheco Paiva Passos Peixoto Pimentel Pires Porto Prado Queiroz Reis Resende Rosa Sá Sales
        Sampaio Serra Siqueira Tavares Torres Trindade Valente Vargas Vasconcelos Veiga Viana
        Xavier
    """,
    stems="Alv Barr Bel Cam Car Cas Fig Fon Lag Lim Mal Mir Mon Oli Pal Per Rib Sal Tor Val Vil",
    endings="eira eiro al ares inho ão es edo osa ena",
    town_first="São Santa Vila Nova Monte Campo Porto",
    roads="""
        Rua_{w},_{n} Avenida_{w},_{n} Rua_{w},_{n}_-_apto_{m} Travessa_{w},_{n} Alameda_{w},_{n}
        Praça_{w},_{n}
    """,
    words="""
        das_Flores Brasil XV_de_Novembro Sete_de_Setembro Santos_Dumont da_Paz São_José Tiradentes
        do_Sol Bahia Paraná Amazonas das_Palmeiras Independência Dom_Pedro_II Getúlio_Vargas
    """,
)
_RU = Tongue(
    female="""
        Алла Ангелина Антонина Варвара Василиса Диана Зинаида Зоя Инна Карина Клавдия Лидия Лилия
        Милана Нелли Нина Оксана Раиса Регина Римма Тамара Ульяна Элина Эльвира Яна Жанна Майя Инга
        Злата Снежана Альбина Лада Таисия Серафима Прасковья Агата Эмма Роза Ева Марта
    """,
    male="""
        Анатолий Аркадий Артур Богдан Вадим Валентин Валерий Василий Виталий Владислав Вячеслав
        Геннадий Георгий Герман Глеб Даниил Демид Захар Игнат Лев Леонид Макар Марат Марк Матвей
        Мирон Пётр Платон Прохор Ренат Родион Руслан Савелий Семён Станислав Степан Тихон Тимур
        Филипп Эдуард Эльдар Яков Ярослав Ростислав Всеволод Святослав Назар Давид Арсений Дамир
    """,
    stems="""
        Абрам Авде Агаф Аким Аксён Алёш Амос Аниким Арист Артам Архип Астах Афанас Балаш Баран
        Белоус Беля Берез Беспал Бобр Богдан Болот Бород Бочкар Брагин Будан Булга Бур Быстр Вавил
        Вар Верещаг Верх Весел Вин Власт Волог Вор Гавр Галк Герас Глад Глуш Голуб Горб Горш Грач
        Григ Гром Гуля Дани Демь Дорон Дроз Дуд Ерём Ермак Ефим Жар Жукл Завь Зим Зол Зуб Иван
        Игнат Кабан Казак Калаш Камен Карп Касьян Кириян Клим Кобыл Ковал Колес Комар Кондр Копыл
        Коров Корн Костр Котельн Кош Кудр Кулак Кур Лазар Лап Лар Левч Лисиц Лог Лук Лыс Майор
        Малах Мальц Мамон Марк Март Масл Матв Медвед Мельн Мещер Мирон Мокр Мороз Муром Мяс Наза
        Нест Овчар Одинц Осип Панкр Панф Пастух Пахом Перв Пест Пирож Плот Поляк Пономар Прох Пуг
        Рог Родион Рыб Рябк Сав Самойл Сафон Свирид Север Селив Сидор Скворц Слеп Солом Сорок Старк
        Стрел Сух Сыч Тарас Терех Тихон Токар Трет Туман Уст Фаде Федос Филат Фом Харит Хом Цвет
        Чеб Черк Чех Чист Шап Шаров Шест Шир Шубин Щук Юд Яким Яш
    """,
    endings="ов ин енко ский ев овский кин чук цев ников аков ухин",
    towns="ск ово град ополь ино",
    roads="""
        ул._{w},_д._{n} улица_{w},_дом_{n},_кв._{m} проспект_{w},_{n} пер._{w},_д._{n}
        ул._{w},_д._{n},_кв._{m}
    """,
    words="""
        Ленина Мира Советская Садовая Школьная Гагарина Пушкина Лесная Молодёжная Центральная
        Кирова Октябрьская Зелёная Набережная Победы Чехова Горького Новая Луговая Речная
    """,
)
_UA = Tongue(
    female="""
        Алла Анастасія Валентина Вікторія Віра Дарина Діана Євгенія Зоряна Інна Каріна Лариса Леся
        Лідія Любов Мар'яна Надія Ніна Ольга Руслана Світлана Тамара Тетяна Уляна Христина Яна
        Ярослава
    """,
    male="""
        Анатолій Антон Арсен Артем Борис Валерій Василь Віктор Віталій Владислав Григорій Данило
        Денис Ігор Кирило Леонід Любомир Маркіян Михайло Назар Олег Остап Павло Петро Роман Руслан
        Святослав Степан Федір Ярослав
    """,
    stems="""
        Андр Бабе Баб Бара Бойч Бонд Борис Ваку Васил Вдов Волош Гаври Галай Гнат Гон Гри Гур Дан
        Дем Дер Дмит Дуд Жур Зай Зінч Іван Кар Клим Коваль Кол Кондрат Кор Косте Кра Куз Кур Лаза
        Лес Лит Лук Мак Мат Миха Мороз Наза Оста Павл Пана Пет Пили Рома Руд Сав Сем Сте Тара Тим
        Тка Фед Хар Хом Шев Яре
    """,
    endings="енко чук ський ук як ів ович ишин",
    towns="ів ка пілля ськ городок",
    roads="вул._{w},_{n} вул._{w},_буд._{n},_кв._{m} просп._{w},_{n} пров._{w},_{n}",
    words="""
        Шевченка Франка Хрещатик Свободи Незалежності Лесі_Українки Садова Шкільна Миру Соборна
        Грушевського Зелена Нова Лісова
    """,
)
_PL = Tongue(
    female="""
        Agata Aleksandra Aneta Anna Beata Blanka Bogumiła Bronisława Cecylia Celina Danuta Daria
        Dominika Dorota Edyta Emilia Eugenia Ewelina Genowefa Grażyna Halina Helena Iga Ilona Irena
        Iwona Izabela Jadwiga Janina Joanna Jolanta Justyna Kamila Karolina Kinga Klaudia Kornelia
        Lidia Lucyna Magdalena Marta Martyna Marzena Milena Monika Natalia Nina Olga Patrycja
        Paulina Regina Renata Sabina Stanisława Stefania Sylwia Teresa Urszula Wanda Weronika
        Wioletta
    """,
    male="""
        Adam Adrian Alojzy Artur Bartłomiej Bartosz Bogdan Bogusław Bolesław Cezary Czesław Damian
        Daniel Dariusz Dawid Dominik Edward Eugeniusz Feliks Filip Gabriel Henryk Hubert Ignacy
        Igor Ireneusz Jacek Janusz Jarosław Jerzy Józef Julian Kacper Kamil Karol Kazimierz Konrad
        Krystian Lech Leszek Lucjan Maciej Maksymilian Marcin Marek Mariusz Mateusz Michał Mirosław
        Norbert Olaf Patryk Przemysław Radosław Rafał Robert Roman Ryszard Sebastian Sławomir
        Stefan Sylwester Szymon Tadeusz Waldemar Wiesław Wiktor Witold Władysław Włodzimierz
        Zdzisław Zygmunt
    """,
    stems="""
        Adam Andrzej Bąb Bałec Bart Biel Błaszc Bog Bor Brzez Buc Cieś Czar Dąbr Dębow Dobr Dom Fil
        Gajew Gał Gór Grab Gryc Jabłoń Jan Jas Jaw Kacz Kal Kamiń Karp Kas Kiel Koch Kon Kop Kos
        Kow Koz Kraj Kub Kuch Kwiat Lew Lip Łuk Maj Mal Mar Mat Mich Mil Mor Mur Naw Nied Now Ols
        Ost Paw Piet Piw Pod Pol Rad Rog Rom Rut Ryb Sad Sien Sob Sok Stan Stasz Szcz Szym Tom Urb
        Wal Was Wil Wisn Woj Wol Wyso Zab Zak Zal Ziel
    """,
    endings="owski ewski iński czyk iak ek owicz icki ak arz asik aniak",
    towns="owo ów ice in owiec no",
    roads="ul._{w}_{n} ulica_{w}_{n}/{m} al._{w}_{n} os._{w}_{n} plac_{w}_{n}",
    words="""
        Długa Polna Leśna Ogrodowa Szkolna Lipowa Słoneczna Krótka Mickiewicza Kościuszki
        Sienkiewicza Piłsudskiego Kopernika Zielona Kwiatowa Łąkowa Brzozowa 3_Maja
    """,
)
_GR = Tongue(
    female="""
        Αθηνά Άννα Αντωνία Αργυρώ Αρετή Βαρβάρα Βάσω Δέσποινα Ελευθερία Ελισάβετ Ευθυμία Ευτυχία
        Ζωή Ηλέκτρα Θεοδώρα Ιουλία Καλλιόπη Κλειώ Κωνσταντίνα Λαμπρινή Μαγδαληνή Μαρίνα Νίκη
        Ουρανία Παρασκευή Πηνελόπη Σταυρούλα Στυλιανή Φωτεινή Χαρίκλεια Χρυσούλα
    """,
    male="""
        Άγγελος Αλέξανδρος Αναστάσιος Ανδρέας Αντώνιος Απόστολος Γρηγόριος Διονύσιος Ευάγγελος
        Ευστάθιος Ηλίας Θωμάς Ιάκωβος Κυριάκος Λεωνίδας Λουκάς Μάριος Ματθαίος Νεκτάριος Ορέστης
        Παύλος Πέτρος Σάββας Στέφανος Στυλιανός Σωτήριος Τιμόθεος Φίλιππος Φώτιος Χαράλαμπος
    """,
    stems="""
        Αγγελ Αλεξανδρ Αναγνωστ Αναστασ Ανδρε Αντων Αποστολ Αργυρ Βασιλ Βλαχ Γεωργ Γιανν Δημητρ
        Διαμαντ Ευαγγελ Ζαχαρ Ηλι Θεοδωρ Θωμ Ιωανν Καλογερ Καρα Κυριακ Κωνσταντ Λαμπρ Μανωλ Μαρκ
        Μαυρ Μιχαηλ Μπαλ Νικολ Ξενακ Οικονομ Πανα Παπ Παππ Παυλ Πετρ Σαββ Σακελλαρ Σιδηρ Σταθ Σταυρ
        Στεφαν Σωτηρ Τζαν Τσακ Φιλιππ Φωτ Χαλκ Χαραλαμπ Χριστ
    """,
    endings="όπουλος ίδης άκης άκος ιάδης άτος έας ούλης",
    towns="ιά ούπολη οχώρι άδα",
    roads="{w}_{n} Οδός_{w}_{n} Λεωφόρος_{w}_{n} Πλατεία_{w}_{n}",
    words="""
        Ερμού Πατησίων Αθηνάς Βενιζέλου Κολοκοτρώνη Μακεδονίας Ελευθερίας Δημοκρατίας Αριστοτέλους
        Τσιμισκή Ακαδημίας Σόλωνος Ιπποκράτους Παπάγου
    """,
)
_EG = Tongue(
    female="""
        زينب=Zeinab خديجة=Khadija عائشة=Aisha نادية=Nadia سعاد=Soad ليلى=Laila سميرة=Samira
        هدى=Hoda إيمان=Eman رانيا=Rania شيماء=Shaimaa نجلاء=Naglaa وفاء=Wafaa هناء=Hanaa دعاء=Doaa
        إسراء=Esraa آلاء=Alaa ندى=Nada رنا=Rana منة=Menna جنى=Jana مروة=Marwa سحر=Sahar أسماء=Asmaa
    """,
    male="""
        حسين=Hussein سعيد=Said سيد=Sayed عبد_العزيز=Abdelaziz عادل=Adel سامي=Sami رامي=Ramy
        هاني=Hany وليد=Walid ياسر=Yasser شريف=Sherif تامر=Tamer عماد=Emad أشرف=Ashraf أيمن=Ayman
        إسلام=Islam حمدي=Hamdy رضا=Reda صلاح=Salah فتحي=Fathy ماهر=Maher مجدي=Magdy نبيل=Nabil
        هشام=Hesham عمرو=Amr زياد=Ziad مازن=Mazen بلال=Bilal أنور=Anwar جمال=Gamal رمضان=Ramadan
        عاطف=Atef
    """,
    doubled="محمد أحمد فاطمة",
    last="""
        الجندي=Elgendy النجار=Elnaggar الحداد=Elhaddad العطار=Elattar المصري=Elmasry البنا=Elbanna
        الخولي=Elkholy الشرقاوي=Elsharkawy المنشاوي=Elminshawy الصاوي=Elsawy عطية=Attia غانم=Ghanem
        قاسم=Kassem يونس=Younis بدوي=Badawy حجازي=Hegazy راشد=Rashed رزق=Rizk سالم=Salem
        شعبان=Shaaban صقر=Sakr طه=Taha عوض=Awad عيسى=Eissa فرج=Farag كامل=Kamel لطفي=Lotfy
        موسى=Moussa نصر=Nasr هلال=Helal
    """,
    town_first="كفر=Kafr منية=Miniat بني=Beni دير=Deir",
    roads="{n}_شارع_{w} {n}_ميدان_{w} {n}_طريق_{w}",
    words="التحرير النيل رمسيس الهرم الجمهورية السلام النصر الثورة الجامعة البحر طلعت_حرب عرابي",
)
_IN = Tongue(
    female="""
        Aarti Aishwarya Alka Amrita Anita Anushka Aparna Archana Asha Bhavna Chitra Farah Fatima
        Geeta Hema Indira Ishita Jaya Kajal Kalpana Kamala Kanchan Komal Lata Leela Madhuri Malini
        Manisha Meenakshi Nalini Namrata Nisha Padma Pallavi Parvati Poonam Prerna Rashmi Renu Ritu
        Rohini Roshni Sangeeta Sarita Savita Shalini Shanti Shilpa Simran Smita Sonal Sudha Suman
        Sushma Swati Uma Vandana Vasudha Yamini Zoya
    """,
    male="""
        Abhishek Ajay Akash Akshay Alok Amol Anand Anirudh Arun Ashok Ashwin Bharat Chandan Chetan
        Darshan Dev Dhruv Dinesh Farhan Ganesh Gaurav Girish Govind Hari Hemant Inder Irfan Jagdish
        Jatin Kamal Kapil Karan Kunal Lalit Mahesh Mohan Mukesh Naresh Naveen Omkar Pankaj Parth
        Pradeep Prakash Prashant Rahul Rakesh Ramesh Ranjit Ritesh Sachin Sameer Sandeep Sanjeev
        Satish Shankar Shyam Sumit Sunil Tarun Uday Varun Venkatesh Vikram Vinay Vinod Vishal Vivek
        Yash Yogesh Zaheer
    """,
    last="""
        Acharya Ahuja Ali Anand Arora Babu Bajaj Bakshi Balakrishnan Bedi Bhardwaj Bhattacharya
        Biswas Chadha Chakraborty Chandra Chopra Dalal Deshmukh Deshpande Dhillon Dixit Dutta
        Fernandes Gandhi Ganguly Garg Gokhale Goswami Goyal Grewal Hegde Hussain Jadhav Jain Jha
        Kamath Kapadia Kaul Khanna Khurana Krishnan Kulshreshtha Kumari Lal Mahajan Majumdar Mathur
        Mistry Mittal Modi Mohanty Nambiar Narang Narayan Nayak Oberoi Ojha Pal Panda Pande Parekh
        Parmar Patnaik Pawar Pillay Prasad Puri Qureshi Raghavan Rai Rajan Raman Rana Ranganathan
        Rastogi Rathore Rawat Roy Sahni Sahoo Saini Salvi Sandhu Saxena Sehgal Sen Seth Sethi
        Shaikh Shetty Shinde Shukla Sinha Sodhi Solanki Soni Srinivasan Srivastava Subramanian
        Sundaram Swamy Talwar Tandon Thakur Thomas Trivedi Upadhyay Varma Venkataraman Vyas Wadhwa
        Wagh Walia Zaveri
    """,
    stems="""
        Ram Krish Dev Shiv Raj Hari Gop Nar Jay Vij Chand Sund Kam Mad Bal Gan Man Som Vas Pad Sur
        Ind
    """,
    endings="nathan krishnan kar wal wala raj swamy want dasan puri mani an ani",
    towns="pur abad nagar garh ganj kot",
    roads="""
        {n},_{w}_Road Flat_{m},_{n}_{w}_Apartments {n}/{m},_{w}_Nagar House_No._{n},_{w}_Marg
        Plot_{n},_{w}_Colony
    """,
    words="""
        Gandhi Nehru Lajpat Subhash MG Station Temple Lake Shanti Laxmi Patel Tilak Ambedkar Rajiv
        Indira Netaji Park Civil_Lines Ganga Model
    """,
)
# Chinese and Japanese names are put together from characters, readings likewise.
_CN = Tongue(
    last="""
        丁=Ding 魏=Wei 薛=Xue 叶=Ye 阎=Yan 杜=Du 戴=Dai 夏=Xia 钟=Zhong 汪=Wang 任=Ren 姜=Jiang
        范=Fan 方=Fang 石=Shi 姚=Yao 谭=Tan 廖=Liao 邹=Zou 熊=Xiong 金=Jin 陆=Lu 郝=Hao 孔=Kong
        白=Bai 崔=Cui 康=Kang 毛=Mao 邱=Qiu 秦=Qin 江=Jiang 史=Shi 顾=Gu 侯=Hou 邵=Shao 孟=Meng
        龙=Long 万=Wan 段=Duan 雷=Lei 钱=Qian 汤=Tang 尹=Yin 黎=Li 易=Yi 常=Chang 武=Wu 乔=Qiao
        贺=He 赖=Lai 龚=Gong 文=Wen 庞=Pang 樊=Fan 兰=Lan 殷=Yin 施=Shi 陶=Tao 洪=Hong 翟=Zhai
        安=An 颜=Yan 倪=Ni 严=Yan 牛=Niu 温=Wen 芦=Lu 季=Ji 俞=Yu 章=Zhang 鲁=Lu 葛=Ge 伍=Wu 韦=Wei
        申=Shen
    """,
    stems="""
        雅=Ya 雨=Yu 思=Si 佳=Jia 梦=Meng 晓=Xiao 美=Mei 春=Chun 小=Xiao 海=Hai 志=Zhi 建=Jian
        国=Guo 文=Wen 明=Ming 永=Yong 俊=Jun 天=Tian 子=Zi 家=Jia 成=Cheng 金=Jin 玉=Yu 一=Yi
        嘉=Jia 德=De 新=Xin 光=Guang
    """,
    endings="""
        华=Hua 林=Lin 平=Ping 英=Ying 玲=Ling 军=Jun 峰=Feng 龙=Long 云=Yun 兰=Lan 琴=Qin 芬=Fen
        婷=Ting 怡=Yi 涵=Han 轩=Xuan 宇=Yu 豪=Hao 辉=Hui 生=Sheng 荣=Rong 祥=Xiang 妍=Yan 欣=Xin
        阳=Yang 宁=Ning
    """,
    towns="州=zhou 阳=yang 安=an 山=shan 城=cheng 河=he 江=jiang 海=hai",
    town_first="安=An 平=Ping 长=Chang 永=Yong 新=Xin 东=Dong 南=Nan 清=Qing 宁=Ning 金=Jin",
    roads="{w}路{n}号 {w}大街{n}号 {w}路{n}号{m}单元 {w}巷{n}号",
    words="""
        人民 中山 解放 建设 和平 新华 文化 长江 黄河 北京 南京 光明 胜利 友谊 迎宾 学院 东风 青年
    """,
)
_JP = Tongue(
    female="明=Aki 智=Tomo 由=Yu 真=Ma 千=Chi 春=Haru 夏=Natsu 美=Mi 里=Ri 早=Sa 絵=E 友=Yu",
    male="""
        正=Masa 義=Yoshi 秀=Hide 康=Yasu 光=Mitsu 貴=Taka 信=Nobu 和=Kazu 俊=Toshi 英=Hide 勝=Katsu
        昭=Aki
    """,
    stems="""
        山=Yama 川=Kawa 田=Ta 村=Mura 石=Ishi 木=Ki 森=Mori 林=Hayashi 松=Matsu 竹=Take 高=Taka
        大=O 小=Ko 中=Naka 上=Ue 下=Shimo 西=Nishi 東=Higashi 北=Kita 南=Minami 前=Mae 青=Ao
        黒=Kuro 白=Shira 金=Kane 今=Ima 古=Furu 吉=Yoshi 平=Hira 福=Fuku 横=Yoko 河=Kawa 岩=Iwa
        秋=Aki 藤=Fuji 桜=Sakura 杉=Sugi 荒=Ara 宮=Miya 内=Uchi
    """,
    endings="""
        田=da 山=yama 川=kawa 村=mura 本=moto 野=no 原=hara 島=shima 崎=zaki 井=i 木=ki 口=guchi
        沢=sawa 岡=oka 坂=saka 谷=tani 橋=hashi 林=bayashi 森=mori 尾=o 瀬=se 塚=zuka 浦=ura
        中=naka 上=kami 下=shita 内=uchi
    """,
    towns="市=shi 町=machi",
    roads="{w}{n}丁目{m}番地 {w}町{n}-{m} {w}{n}-{m}",
    words="本町 中央 栄 緑 若葉 桜 旭 泉 東 西 南 北 大手 新 港 日の出 富士見 朝日",
)
_JP_FEMALE_ENDS = _pairs(
    "子=ko 美=mi 香=ka 奈=na 恵=e 花=ka 菜=na 代=yo 世=yo 穂=ho 江=e 紀=ki 乃=no"
)
_JP_MALE_ENDS = _pairs(
    "男=o 雄=o 夫=o 彦=hiko 人=to 樹=ki 之=yuki 一=kazu 介=suke 志=shi 郎=ro 也=ya 治=ji"
)

_TONGUES = {
    "US": _EN, "GB": _EN, "DE": _DE, "FR": _FR, "ES": _ES, "MX": _ES, "IT": _IT, "BR": _PT,
    "RU": _RU, "UA": _UA, "PL": _PL, "GR": _GR, "EG": _EG, "IN": _IN, "CN": _CN, "JP": _JP,
}  # fmt: skip
_MIXED = {"US": (_ES, _DE, _IT, _PL, _IN), "GB": (_IN, _PL), "DE": (_PL,), "FR": (_IT, _PT)}


@dataclass(frozen=True, slots=True)
class Dialling:
    """How a country's numbers look: "#" is any digit, "%" one of 2 to 9."""

    code: str
    trunk: str  # dialled before the number within the country
    mobiles: tuple[str, ...]
    landlines: tuple[str, ...]


def _dialling(code: str, trunk: str, mobiles: str, landlines: str) -> Dialling:
    split = (
        tuple(form.strip().replace("_", " ") for form in f.split(";")) for f in (mobiles, landlines)
    )
    return Dialling(code, trunk, *split)


_AREAS = (212, 310, 312, 713, 602, 206, 303, 512, 617, 503, 404, 305, 214, 415, 702, 919, 615, 704)
_NORTH_AMERICA = "; ".join(f"{area} %## ####" for area in _AREAS)
_DIALLING = {
    "US": _dialling("1", "", _NORTH_AMERICA, _NORTH_AMERICA),
    "GB": _dialling(
        "44", "0", "74## ######; 75## ######; 77## ######; 78## ######; 79## ######",
        "20 7### ####; 20 8### ####; 161 4## ####; 121 4## ####; 113 2## ####; 131 5## ####",
    ),
    "DE": _dialling(
        "49", "0", "151 %#######; 160 %######; 170 %######; 171 %######; 172 %######; 176 %#######",
        "30 %#######; 40 %#######; 89 %#######; 221 %######; 69 %#######; 711 %######",
    ),
    "FR": _dialling(
        "33", "0", "6 6# ## ## ##; 6 1# ## ## ##; 7 6# ## ## ##; 7 8# ## ## ##",
        "1 4# ## ## ##; 4 7# ## ## ##; 4 9# ## ## ##; 5 6# ## ## ##; 3 8# ## ## ##",
    ),
    "ES": _dialling(
        "34", "", "6%# ### ###; 61# ### ###",
        "91 5## ## ##; 93 4## ## ##; 96 3## ## ##; 95 4## ## ##",
    ),
    "IT": _dialling(
        "39", "", "32# ### ####; 33# ### ####; 34# ### ####; 38# ### ####",
        "06 %### ####; 02 %### ####; 081 %## ####; 011 %## ####",
    ),
    "RU": _dialling(
        "7", "8 ", "903 ### ## ##; 905 ### ## ##; 910 ### ## ##; 916 ### ## ##; 921 ### ## ##; "
        "926 ### ## ##; 950 ### ## ##; 960 ### ## ##",
        "495 %## ## ##; 812 %## ## ##; 383 %## ## ##; 343 %## ## ##",
    ),
    "UA": _dialling(
        "380", "0", "50 ### ## ##; 67 ### ## ##; 63 ### ## ##; 93 ### ## ##; 97 ### ## ##",
        "44 %## ## ##; 32 %## ## ##; 57 %## ## ##",
    ),
    "PL": _dialling(
        "48", "", "50# ### ###; 60# ### ###; 66# ### ###; 79# ### ###",
        "22 6## ## ##; 12 6## ## ##; 42 6## ## ##; 71 3## ## ##",
    ),
    "GR": _dialling("30", "", "69%# ### ###; 694 ### ####", "21 0%## ####; 231 0%## ###"),
    "EG": _dialling(
        "20", "0", "10 #### ####; 11 #### ####; 12 #### ####", "2 2%## ####; 3 4## ####"
    ),
    "IN": _dialling(
        "91", "0", "98### #####; 99### #####; 97### #####; 90### #####",
        "22 2### ####; 11 2### ####; 80 2### ####; 44 2### ####",
    ),
    "BR": _dialling(
        "55", "", "11 9%###-####; 21 9%###-####; 31 9%###-####; 41 9%###-####",
        "11 3###-####; 21 3###-####; 31 3###-####",
    ),
    "MX": _dialling(
        "52", "", "55 %### ####; 33 %### ####; 81 %### ####", "55 5### ####; 222 2## ####"
    ),
    "JP": _dialling(
        "81", "0", "90-%###-####; 80-%###-####; 70-%###-####",
        "3-3###-####; 6-6###-####; 45-6##-####",
    ),
    "CN": _dialling(
        "86", "", "138 #### ####; 139 #### ####; 150 #### ####; 186 #### ####; 177 #### ####",
        "10 6### ####; 21 6### ####; 20 8### ####",
    ),
}  # fmt: skip
_POSTCODES = {
    "US": "#####", "GB": "@@%# #@@", "RU": "6#####", "BR": "#####-###", "IN": "######",
    "JP": "###-####", "CN": "######", "GR": "### ##", "PL": "##-###",
}  # fmt: skip


T = TypeVar("T")


class Frequent(Generic[T]):
    """Draws from what is ranked, the first most often: by 1 / (rank + head), as in a census."""

    def __init__(self, ranked: Iterable[T], head: float) -> None:
        self.ranked = tuple(dict.fromkeys(ranked))
        self._sums = list(accumulate(1 / (rank + head) for rank in range(1, len(self.ranked) + 1)))

    def draw(self, rng: Random) -> T:
        """Return one of them."""
        return self.ranked[bisect(self._sums, rng.random() * self._sums[-1])]


@dataclass(frozen=True, slots=True)
class Locale:
    """A country as people are drawn from it."""

    country: Country
    female: Frequent[Name]
    male: Frequent[Name]
    last: Frequent[Name]
    cities: Frequent[tuple[str, str]]  # name, postcode in which "#" is any digit
    roads: tuple[str, ...]
    words: Frequent[str]  # that roads are called by
    dialling: Dialling
    common: frozenset[str]  # last names of which strangers meet namesakes


# How far the most frequent surnames stand out: in China and Brazil far, in France and Italy little.
_HEADS = {"CN": 4, "BR": 4, "ES": 4, "MX": 4, "IN": 8, "FR": 40, "IT": 40, "PL": 40, "GR": 20}
_TWO_SURNAMES = frozenset(("ES", "MX", "BR"))
_KEEPS_NAME = frozenset(("ES", "MX", "CN", "EG", "IT"))  # where a wife's name stays


@cache
def locale(code: str) -> Locale:
    """Return a country with all its names and places, always the same."""
    country = next(country for country in COUNTRIES if country.code == code)
    tongue, rng = _TONGUES[code], Random(code)
    last = _surnames(country, rng)
    words = _spaced(tongue.words)
    return Locale(
        country,
        Frequent(_first_names(country.female, tongue.female, tongue, code), 15),
        Frequent(_first_names(country.male, tongue.male, tongue, code), 15),
        Frequent(last, _HEADS.get(code, 12)),
        Frequent((*country.cities, *_towns(code, tongue, rng)), 2),
        tuple(_spaced(tongue.roads)),
        Frequent((*words, *(native for native, _ in last[:400])), 20),
        _DIALLING[code],
        frozenset(form for name in last[:80] for form in (name[0], _feminine(name, code)[0])),
    )


def _first_names(frequent: Sequence[Name], more: str, tongue: Tongue, code: str) -> Iterator[Name]:
    further = _pairs(more)
    if code == "JP":
        ends = _JP_FEMALE_ENDS if more == _JP.female else _JP_MALE_ENDS
        further = _joined(further, ends)
    elif code == "CN":
        further = _joined(_pairs(tongue.stems), _pairs(tongue.endings))
    elif code in _SCRIPTS:
        further = [_romanised(native) for native, _ in further]
    names = [*frequent, *further]
    yield from names
    mark = "-" if code in ("DE", "FR") else " "
    leading = [name for name in names if name[0] in tongue.doubled.split()]
    for one in leading:
        yield from ((one[0] + mark + two[0], one[1] + mark + two[1]) for two in names[:30])


def _surnames(country: Country, rng: Random) -> list[Name]:
    """Return the frequent ones first, then those put together from parts in any order."""
    tongues = (_TONGUES[country.code], *_MIXED.get(country.code, ()))
    known = [name for tongue in tongues for name in _pairs(tongue.last)]
    made = []
    if country.code != "CN":  # whose parts make first names
        parts = [(_pairs(tongue.stems), _pairs(tongue.endings)) for tongue in tongues]
        made = [name for stems, endings in parts for name in _joined(stems, endings)]
    if country.code in _SCRIPTS:
        made = [_romanised(native) for native, _ in made]
    if country.code in ("US", "GB"):  # immigrants' names lose their marks
        known, made = ([(_unmarked(n), _unmarked(m)) for n, m in names] for names in (known, made))
    rng.shuffle(known)
    rng.shuffle(made)
    return [*country.last, *known, *made]


def _joined(stems: Iterable[Name], endings: Sequence[Name]) -> list[Name]:
    return [(s[0] + e[0], s[1] + e[1]) for s in stems for e in endings if s[0] != e[0]]


def _towns(code: str, tongue: Tongue, rng: Random) -> Iterator[tuple[str, str]]:
    """Yield small towns, each with ten postcodes that begin alike."""
    made = [a[0] + b[0] for a in _pairs(tongue.stems) for b in _pairs(tongue.towns)]
    if tongue.town_first:
        bare = code in ("CN", "FR")
        ends = _pairs(tongue.towns or tongue.last)
        made = [
            a[0] + ("" if bare else " ") + b[0] for a in _pairs(tongue.town_first) for b in ends
        ]
    for town in rng.sample(made, min(150, len(made))):
        shape = _POSTCODES.get(code, "#####")
        yield town, _filled(shape[:-1], rng) + (shape[-1] if shape[-1] == "#" else "A")


def _filled(shape: str, rng: Random) -> str:
    """Put something where a shape says so: "#" a digit, "%" one of 2 to 9, "@" a letter."""
    drawn = {"#": "0123456789", "%": "23456789", "@": "ABDEGHLNPRSW"}
    return "".join(rng.choice(drawn[c]) if c in drawn else c for c in shape)


# How names are written in Latin letters, and without marks.

_SCRIPTS = frozenset(("RU", "UA", "GR"))  # of which a table makes Latin letters
_CYRILLIC = dict(
    _rules(
        """
        а>a б>b в>v г>g ґ>g д>d е>e є>ie ж>zh з>z и>i і>i ї>i й>y к>k л>l м>m н>n о>o п>p р>r
        с>s т>t у>u ф>f х>kh ц>ts ч>ch ш>sh щ>shch ъ> ы>y ь> э>e ю>yu я>ya ё>e '>
        """
    )
)
_CYRILLIC_GERMAN = _CYRILLIC | dict(
    _rules("ж>sch з>s в>w й>j х>ch ц>z ч>tsch ш>sch щ>schtsch ю>ju я>ja є>je")
)
_GREEK = dict(
    _rules(
        """
        α>a β>v γ>g δ>d ε>e ζ>z η>i θ>th ι>i κ>k λ>l μ>m ν>n ξ>x ο>o π>p ρ>r σ>s ς>s τ>t υ>y
        φ>f χ>ch ψ>ps ω>o
        """
    )
)
_GREEK_OTHER = _GREEK | dict(_rules("β>b η>h υ>u χ>x φ>ph ξ>ks"))
_MARKS = "[\u0300-\u036f]"
_OTHER_MARKS = "[\u0300-\u0305\u0307\u0309-\u036f]"  # than those of й and ё
_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue"})
_LETTERS = str.maketrans({"ß": "ss", "ø": "o", "ł": "l", "Ł": "L", "ı": "i", "œ": "oe"})


@lru_cache(maxsize=100_000)
def _latin(native: str, *, other: bool = False) -> str:
    """Return Cyrillic or Greek in Latin letters, in one of two manners."""
    text = unicodedata.normalize("NFC", _unmarked(native) if native[:1] > "Ͱ" else native)
    table = (_CYRILLIC_GERMAN if other else _CYRILLIC) | (_GREEK_OTHER if other else _GREEK)
    text = text.lower().replace("ου", "ou").replace("μπ", "b")
    return "".join(table.get(c, c) for c in text).title()


def _romanised(native: str) -> Name:
    return native, _latin(native)


@lru_cache(maxsize=200_000)
def _unmarked(text: str) -> str:
    """Drop the marks of letters, but those of й and ё, which are letters of their own."""
    if text.isascii():
        return text
    marks = _OTHER_MARKS if _CYRILLIC.keys() & set(text.lower()) else _MARKS
    marked = unicodedata.normalize("NFKD", text.translate(_LETTERS))
    return unicodedata.normalize("NFC", re.sub(marks, "", marked))


@lru_cache(maxsize=200_000)
def _mail_word(latin: str, *, german: bool) -> str:
    plain = _unmarked(latin.translate(_UMLAUTS) if german else latin)
    return re.sub("[^a-z0-9]+", "", plain.lower())


_FEMININE = _rules(
    """
    ский>ская цкий>цкая ський>ська цький>цька ов>ова ев>ева ёв>ёва ин>ина ski>ska cki>cka
    όπουλος>οπούλου ίδης>ίδη άκης>άκη άκος>άκου ιάδης>ιάδη άτος>άτου έας>έα ούλης>ούλη
    """
)


@lru_cache(maxsize=100_000)
def _feminine(name: Name, code: str) -> Name:
    """Return the form of a last name that a woman has."""
    if code not in _SCRIPTS and code != "PL":
        return name
    for ending, other in _FEMININE:
        if name[0].endswith(ending):
            native = name[0].removesuffix(ending) + other
            return (native, native) if code == "PL" else _romanised(native)
    return name


# Who they are.


@dataclass(frozen=True, slots=True)
class Home:
    """Where people live, and what they share there."""

    street: str
    city: str
    postcode: str
    landline: str
    email: str


@dataclass(frozen=True, slots=True)
class Company:
    """Where people work, and what they share there."""

    name: str
    email: str
    switchboard: str


@dataclass(slots=True)
class Person:
    """Somebody as they are; of pairs, the first is of before, the second of now."""

    id: str
    locale: Locale
    female: bool
    first: Name
    middle: Name
    last: tuple[Name, Name]
    mother: Name  # her surname, where people have two, or ""
    suffix: str
    birth: tuple[int, int, int]
    homes: tuple[Home, Home]
    mobiles: tuple[str, str]  # as grouped within the country
    emails: tuple[str, str]
    company: Company | None
    work_email: str


_NOBODY: Name = ("", "")
_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_TRADES = ("group", "trade", "tech", "partners", "shop", "service", "works", "online", "labs")
_MIDDLE = {"US": 0.6, "GB": 0.5, "RU": 0.95, "UA": 0.9, "DE": 0.2, "FR": 0.35, "EG": 0.6, "PL": 0.3}
_CLAIMS = 1 << 27  # bits: room for some ten million e-mails and phones


class Population:
    """Makes homes and who lives there, without end."""

    def __init__(self, world: World, seed: int) -> None:
        self._world, self._seed = world, seed
        self._rng = Random(f"{seed}:people")
        weights = world.countries or {country.code: country.weight for country in COUNTRIES}
        self._locales = [locale(code) for code in weights]
        self._sums = list(accumulate(weights.values()))
        self._claimed = bytearray(_CLAIMS // 8)
        self._recent: list[Person] = []  # who may get a namesake
        self._made = 0

    def homes(self) -> Iterator[list[Person]]:
        """Yield the customers of one home after the other."""
        rng, world = self._rng, self._world
        while True:
            drawn = rng.random()
            if drawn < world.families:
                yield self._family(self._locale())
            elif self._recent and rng.random() < world.namesakes / (1 - world.families):
                yield [self._namesake(rng.choice(self._recent))]
            else:
                person = self._single(self._locale())
                self._remember(person)
                yield [person]

    def _locale(self) -> Locale:
        return self._locales[bisect(self._sums, self._rng.random() * self._sums[-1])]

    def _remember(self, person: Person) -> None:
        if person.last[1][0] not in person.locale.common:
            return
        if len(self._recent) < 2_000:
            self._recent.append(person)
        else:
            self._recent[self._rng.randrange(2_000)] = person

    # Homes.

    def _single(self, land: Locale) -> Person:
        rng = self._rng
        female = rng.random() < 0.5
        last = land.last.draw(rng)
        person = self._person(land, female, last, (1938, 2006), self._homes(land, last))
        if female and rng.random() < self._world.weds:
            self._marry(person, land.last.draw(rng))
        return person

    def _namesake(self, other: Person) -> Person:
        """Make a stranger with somebody's name in the same city, in a third of cases as old."""
        rng, land = self._rng, other.locale
        place = (other.homes[1].city, other.homes[1].postcode[:-1] + "#")
        home = self._home(land, other.last[1], place)
        year = other.birth[0] if rng.random() < 0.3 else rng.randint(1938, 2006)
        person = self._person(land, other.female, other.last[1], (year, year), (home, home))
        person.first, person.last, person.mother = other.first, other.last, other.mother
        person.emails = self._emails(person)
        return person

    def _family(self, land: Locale) -> list[Person]:
        """Make parents and children, and return two to five of them."""
        rng, world = self._rng, self._world
        last, born = land.last.draw(rng), rng.randint(1940, 1982)
        homes = self._homes(land, last)
        father = self._person(land, False, last, (born, born), homes)
        mother = self._person(land, True, last, (born - 5, born + 8), homes)
        mother.last = self._last_names(land, mother.last[1])
        children: list[Person] = []
        for _ in range(rng.randint(1, 3)):
            child = self._child(land, father, mother, homes)
            while child.first in [person.first for person in (father, mother, *children)]:
                child = self._child(land, father, mother, homes)
            children.append(child)
        if len(children) > 1 and rng.random() < world.twins * 3:
            children[1].birth = children[0].birth
        members = [father, mother, *children]
        if rng.random() < world.juniors:
            self._name_after(children[0], father)
            members = [father, children[0], mother, *children[1:]]
        size = min(2 + bisect((0.55, 0.8, 0.95), rng.random()), len(members))
        return members[:size]

    def _last_names(self, land: Locale, shared: Name) -> tuple[Name, Name]:
        """Return a mother's last names, where the family's is `shared`."""
        rng, own = self._rng, _feminine(land.last.draw(self._rng), land.country.code)
        if land.country.code in _KEEPS_NAME or rng.random() < 0.15:
            return own, own
        if rng.random() >= self._world.weds * 2:
            return shared, shared
        return own, _hyphened(own, shared) if rng.random() < 0.2 else shared

    def _child(
        self, land: Locale, father: Person, mother: Person, homes: tuple[Home, Home]
    ) -> Person:
        rng = self._rng
        born, last = mother.birth[0] + rng.randint(19, 35), father.last[1]
        if rng.random() < 0.15:  # has moved out
            homes = (homes[1], self._home(land, last))
        child = self._person(land, rng.random() < 0.5, last, (born, born), homes, father.first)
        if child.mother[0]:
            child.mother = mother.last[1]
        if born > 2006:
            child.company = None
        if born > 2010 or rng.random() < 0.1:
            child.mobiles = child.emails = ("", "")
        return child

    def _name_after(self, son: Person, father: Person) -> None:
        son.female, son.first, son.last, son.mother = (
            False,
            father.first,
            father.last,
            father.mother,
        )
        if father.locale.country.code in ("US", "GB", "BR"):
            son.middle = father.middle
            son.suffix, father.suffix = ("Filho", "") if son.mother[0] else ("Jr", "Sr")
        if son.emails[0]:
            son.emails = self._emails(son)

    def _marry(self, person: Person, other: Name) -> None:
        code = person.locale.country.code
        if code in _KEEPS_NAME:
            return
        name, before = _feminine(other, code), person.last[0]
        person.last = (before, _hyphened(before, name) if self._rng.random() < 0.25 else name)

    # People.

    def _person(
        self,
        land: Locale,
        female: bool,
        last: Name,
        years: tuple[int, int],
        homes: tuple[Home, Home],
        father: Name | None = None,
    ) -> Person:
        rng, world, code = self._rng, self._world, land.country.code
        self._made += 1
        name = _feminine(last, code) if female else last
        month = rng.randint(1, 12)
        person = Person(
            id=f"P{self._made:07}",
            locale=land,
            female=female,
            first=(land.female if female else land.male).draw(rng),
            middle=self._middle(land, female, father),
            last=(name, name),
            mother=land.last.draw(rng) if code in _TWO_SURNAMES else _NOBODY,
            suffix="",
            birth=(rng.randint(*years), month, rng.randint(1, _DAYS[month - 1])),
            homes=homes,
            mobiles=self._pair(lambda: self._number(land.dialling.mobiles), world.new_phone),
            emails=("", ""),
            company=self._company(land) if rng.random() < world.employed else None,
            work_email="",
        )
        person.emails = self._emails(person)
        if person.company:
            domain = person.company.email.partition("@")[2]
            person.work_email = self._unique(_mail_words(person, 1), ".", "", domain)
        return person

    def _middle(self, land: Locale, female: bool, father: Name | None) -> Name:
        code = land.country.code
        if self._rng.random() >= _MIDDLE.get(code, 0.08):
            return _NOBODY
        if code in ("RU", "UA"):
            return _patronymic(father or land.male.draw(self._rng), female, code)
        if code == "EG":
            return father or land.male.draw(self._rng)
        return (land.female if female else land.male).draw(self._rng)

    def _pair(self, make: Callable[[], str], changed: float) -> tuple[str, str]:
        before = make()
        return before, make() if self._rng.random() < changed else before

    def _emails(self, person: Person) -> tuple[str, str]:
        """Return the address of before and of now, which may differ in the provider alone."""
        rng = self._rng
        before = self._email(person, 0)
        if rng.random() >= self._world.new_email:
            return before, before
        if rng.random() < 0.5:
            moved = f"{before.partition('@')[0]}@{self._provider(person.locale)}"
            if self._claim(moved):
                return before, moved
        return before, self._email(person, 1)

    def _email(self, person: Person, now: int) -> str:
        rng = self._rng
        drawn = rng.random()
        year = str(person.birth[0])
        tail = "" if drawn < 0.4 else year[2:] if drawn < 0.6 else str(rng.randint(1, 999))
        words = _mail_words(person, now)
        if drawn > 0.93:  # says nothing of the name
            words = (rng.choice(_NICKS), words[0][:2])
        elif drawn > 0.8:
            words = (words[0][:1], words[1])
        mark = rng.choice(("", "", ".", ".", "_", "-"))
        return self._unique(words, mark, tail, self._provider(person.locale))

    def _unique(self, words: tuple[str, str], mark: str, tail: str, domain: str) -> str:
        """Return an address that nobody has, with more digits at its end until that is so."""
        stem = mark.join(word for word in words if word) or "mail"
        while not self._claim(f"{stem}{tail}@{domain}"):
            tail = str(self._rng.randint(1, 99_999))
        return f"{stem}{tail}@{domain}"

    def _provider(self, land: Locale) -> str:
        providers = land.country.providers
        return providers[0] if self._rng.random() < 0.45 else self._rng.choice(providers)

    def _number(self, shapes: Sequence[str]) -> str:
        while True:
            number = _filled(self._rng.choice(shapes), self._rng)
            if self._claim(number):
                return number

    def _claim(self, text: str) -> bool:
        """Take something for one's own; False if somebody has it, and now and then by mistake."""
        bit = crc32(text.replace(".", "").encode()) % _CLAIMS
        if self._claimed[bit >> 3] >> (bit & 7) & 1:
            return False
        self._claimed[bit >> 3] |= 1 << (bit & 7)
        return True

    # Places.

    def _homes(self, land: Locale, last: Name) -> tuple[Home, Home]:
        rng, home = self._rng, self._home(land, last)
        if rng.random() >= self._world.moves:
            return home, home
        same_city = (home.city, home.postcode[:-1] + "#") if rng.random() < 0.5 else None
        return home, self._home(land, last, same_city)

    def _home(self, land: Locale, last: Name, place: tuple[str, str] | None = None) -> Home:
        rng = self._rng
        city, shape = place or land.cities.draw(rng)
        street = rng.choice(land.roads).format(
            w=land.words.draw(rng), n=int(rng.paretovariate(0.6)) % 300 + 1, m=rng.randint(1, 20)
        )
        word = _mail_word(last[1], german=land.country.code == "DE")
        email = self._unique(("family", word), rng.choice((".", "")), "", self._provider(land))
        return Home(street, city, _filled(shape, rng), self._number(land.dialling.landlines), email)

    def _company(self, land: Locale) -> Company:
        """Return one of the companies so far, the older the larger, or a new one."""
        index = int(self._made * self._rng.random() ** 2 / 40)
        rng = Random(f"{self._seed}:{land.country.code}:{index}")
        name = land.last.draw(rng)
        domain = f"{_mail_word(name[1], german=True)}-{rng.choice(_TRADES)}{index}"
        email = f"{rng.choice(('info', 'info', 'office', 'sales'))}@{domain}"
        return Company(
            rng.choice(land.country.companies).format(name[0]),
            f"{email}.{land.country.company_domain}",
            _filled(rng.choice(land.dialling.landlines), rng),
        )


_NICKS = ("sunny", "tiger", "lucky", "star", "blue", "moon", "ace", "pixel", "nova", "rocky", "mr")


def _hyphened(one: Name, two: Name) -> Name:
    return f"{one[0]}-{two[0]}", f"{one[1]}-{two[1]}"


def _mail_words(person: Person, now: int) -> tuple[str, str]:
    german = person.locale.country.code == "DE"
    return (
        _mail_word(person.first[1], german=german),
        _mail_word(person.last[now][1], german=german),
    )


@lru_cache(maxsize=10_000)
def _patronymic(father: Name, female: bool, code: str) -> Name:
    stem, hard = father[0], ("івна", "ович") if code == "UA" else ("овна", "ович")
    if stem[-1] in "ая":
        return _NOBODY  # Никита, Илья: rare, and irregular
    if stem[-1] in "йь":
        stem, hard = stem[:-1], ("ївна", "йович") if code == "UA" else ("евна", "евич")
    elif stem[-1] == "о":
        stem = stem[:-1]
    return _romanised(stem + hard[0 if female else 1])


# How they are written down.

_KEYBOARDS = (
    "qwertyuiop", "asdfghjkl", "zxcvbnm", "йцукенгшщзхъ", "фывапролджэ", "ячсмитьбю", "ςερτυθιοπ",
    "ασδφγηξκλ", "ζχψωβνμ",
)  # fmt: skip
_BESIDE = {
    key: row[max(0, at - 1) : at] + row[at + 1 : at + 2]
    for row in _KEYBOARDS
    for at, key in enumerate(row)
}


def _halfway(one: World, other: World, about: str) -> World:
    rates = {
        of.name: (getattr(one, of.name) + getattr(other, of.name)) / 2
        for of in fields(World)
        if isinstance(getattr(one, of.name), float)
    }
    missing = {name: (one.missing[name] + other.missing[name]) / 2 for name in one.missing}
    return replace(one, about=about, missing=missing, **rates)


WORLDS["usual"] = _halfway(WORLDS["mixed"], WORLDS["clean"], "halfway between mixed and clean")
_MISREAD = _rules(
    """
    rn>m m>rn cl>d d>cl l>1 i>l l>i O>0 e>c c>e h>b S>5 B>8 g>q u>v ii>ü vv>w
    """
)
_BY_EAR = _rules(
    """
    ph>f ck>k k>ck ie>y y>i i>y th>t t>th sch>sh tt>t ll>l l>ll nn>n n>nn mm>m ss>s s>ss dt>t ei>ai
    ai>ay ey>ay ou>u z>s s>z c>k k>c v>w w>v f>v j>y qu>k x>ks ee>ea gh>g kh>h aa>a oo>u sz>sh
    cz>ch ç>s ñ>ny о>а а>о е>и и>е ё>е е>ё тт>т нн>н й>и дт>т ей>ий ω>ο η>ι υ>ι ει>ι
    """
)
_SHORT_STREETS = _rules(
    """
    Street>St. Street>St Avenue>Ave Road>Rd Drive>Dr Lane>Ln Court>Ct Boulevard>Blvd Close>Cl
    Apartment>Apt Apartments>Apts straße>str. straße>strasse platz>pl. allee>al. avenue>av.
    boulevard>bd rue>r. place>pl. chemin>ch. impasse>imp. allée>all. Calle>C/ Avenida>Av.
    Plaza>Pza. Paseo>Pº Via>V. Corso>C.so Piazza>P.za Viale>V.le Rua>R. Avenida>Av. Travessa>Tv.
    Alameda>Al. Praça>Pça. улица>ул. проспект>пр-т дом>д. вул.>в. просп.>пр. ulica>ul. plac>pl.
    Λεωφόρος>Λεωφ. Οδός>Οδ. شارع>ش Marg>Mg Colony>Col. Nagar>Ngr 丁目>- 番地> 号>
    """
)
_NO_PHONES = (
    "0000000000", "+1 555 555 5555", "1234567890", "999999999", "0123456789", "111111111", "n/a",
)  # fmt: skip
_NO_EMAILS = ("noemail@example.com", "none@none.com", "test@test.com", "no@mail.com", "-")
_LANGUAGES = {
    "US": "en", "GB": "en", "IN": "en", "DE": "de", "PL": "de", "FR": "fr", "IT": "fr", "ES": "es",
    "MX": "es", "BR": "es", "RU": "ru", "UA": "ru",
}  # fmt: skip


@cache
def _nicknames(language: str) -> dict[str, tuple[str, ...]]:
    """Return the short forms, and other spellings, of each full name of a list."""
    found: dict[str, tuple[str, ...]] = {}
    text = (_LISTS / f"nicknames_{language}.txt").read_text(encoding="utf-8")
    for line in text.splitlines():
        full, colon, short = line.partition(" : ")
        if not colon or line.startswith("#"):
            continue
        names, forms = _spaced(full), _spaced(short) * 2  # likelier than another spelling
        for name in names:
            others = (*(other for other in names if other != name), *forms)
            found[name.casefold()] = found.get(name.casefold(), ()) + others
    return found


@cache
def _packaged() -> NickNamer:
    return NickNamer()


@lru_cache(maxsize=50_000)
def _short_forms(first: str, code: str) -> tuple[str, ...]:
    """Return what somebody of that name is also called, in the same script."""
    language = _LANGUAGES.get(code)
    forms = list(_nicknames(language).get(first.casefold(), ())) if language else []
    if language == "en":
        forms += [form.title() for form in sorted(_packaged().nicknames_of(first.casefold()))]
    parts = re.split("[- ]", first)
    if len(parts) > 1:
        forms += [parts[0], parts[0], "".join(parts), " ".join(parts), "-".join(parts)]
    latin = first < "\u0250"
    return tuple(form for form in forms if form != first and (form < "\u0250") == latin)


class Clerk:
    """Writes people down, with what is left out, what has changed since, and slips."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._rng = Random(f"{seed}:rows")
        self._repeats = list(accumulate(world.repeats))
        self._care = 1.0

    def times(self) -> int:
        """Return how often somebody is written down."""
        return bisect(self._repeats, self._rng.random() * self._repeats[-1]) + 1

    def row(self, person: Person) -> Row:
        """Write somebody down; the id is left for whoever numbers the rows."""
        rng, world = self._rng, self._world
        self._care = rng.choice(world.sources)
        now = int(rng.random() < 0.5)
        home = person.homes[now]
        first, middle, last = self._name(person, now)
        row = {
            "id": "",
            "first_name": first,
            "middle_name": middle,
            "last_name": last,
            "gender": "female" if person.female != self._slips(world.wrong_gender) else "male",
            "birth_date": self._birth(person.birth),
            "email": self._email(person, now, home),
            "phone": self._phone(person, now, home),
            "street": self._street(home.street),
            "city": self._mistyped(self._plain(home.city)),
            "postcode": self._postcode(home.postcode),
            "country": person.locale.country.code,
            "company": person.company.name if person.company else "",
        }
        self._leave_out(row)
        return row

    def _slips(self, rate: float) -> bool:
        return self._rng.random() < rate * self._care

    def _leave_out(self, row: Row) -> None:
        rng = self._rng
        left = [column for column, rate in self._world.missing.items() if rng.random() < rate]
        if "first_name" in left and "last_name" in left:
            left.remove("last_name")
        # A customer without birth date is kept for the sake of an e-mail or a phone.
        if "email" in left and "phone" in left and "birth_date" in left:
            left.remove(rng.choice(("email", "phone")))
        for column in left:
            row[column] = ""

    # Names.

    def _name(self, person: Person, now: int) -> tuple[str, str, str]:
        rng, world = self._rng, self._world
        first, middle, last = self._script(person, now)
        if self._slips(world.nickname):
            first = self._nickname(first, person.locale.country.code)
        first, last = self._mistyped(first), self._mistyped(last)
        if middle and rng.random() < 0.4:
            middle = middle[0] + rng.choice(("", "."))
        elif middle and self._slips(world.joined):
            first, middle = f"{first} {middle}", ""
        if self._slips(world.initial):
            first = first[:1] + rng.choice(("", "."))
        if person.suffix and rng.random() < 0.4:
            last = f"{last} {person.suffix}" + rng.choice(("", "."))
        if self._slips(world.swapped):
            first, last = last, first
        if self._slips(world.upper):
            manner = rng.choice((str.upper, str.upper, str.lower))
            first, middle, last = manner(first), manner(middle), manner(last)
        if self._slips(world.blanks):
            first, last = f"{first} ", rng.choice((f" {last}", last.replace(" ", "  ")))
        return first, middle, last

    def _script(self, person: Person, now: int) -> tuple[str, str, str]:
        """Return the names at home's script, or in Latin letters, or without marks."""
        rng = self._rng
        names = [person.first, person.middle, person.last[now]]
        if person.mother[0] and rng.random() < 0.7:
            names.append(person.mother)
        written = [native for native, _ in names]
        if self._slips(self._world.script):
            german = person.locale.country.code == "DE" and rng.random() < 0.6
            other = person.locale.country.code in _SCRIPTS and rng.random() < 0.3
            written = [
                _latin(native, other=True) if other else latin.translate(_UMLAUTS) if german else
                _unmarked(latin)
                for native, latin in names
            ]  # fmt: skip
        return written[0], written[1], " ".join(written[2:])

    def _nickname(self, first: str, code: str) -> str:
        rng = self._rng
        forms = _short_forms(first, code)
        if forms and rng.random() >= self._world.clipped:
            return rng.choice(forms)
        if len(first) < 5 or first > "\u0500":
            return first
        endings = ("", "i", "y", "ie", "o") if first < "\u0250" else ("а", "я", "ик", "уля")
        return first[: rng.choice((3, 3, 4))] + rng.choice(endings)

    def _mistyped(self, text: str) -> str:
        # Of one or two characters nothing would be left.
        if len(text) < 3 or not self._slips(self._world.typo):
            return text
        return _typo(self._rng, text)

    def _plain(self, text: str) -> str:
        return _unmarked(text) if self._slips(self._world.script) else text

    # Dates, contact points, places.

    def _birth(self, birth: tuple[int, int, int]) -> str:
        rng, world = self._rng, self._world
        year, month, day = birth
        if self._slips(world.no_date):
            year, month, day = rng.choice(((1900, 1, 1), (1900, 1, 1), (1970, 1, 1), (1901, 1, 1)))
        elif self._slips(world.year_only):
            month = day = 1
        elif day <= 12 and self._slips(world.month_first * 2.5):  # of all dates, two fifths can be
            month, day = day, month
        elif self._slips(world.digit):
            year, month, day = self._misdated(year, month, day)
        return world.dates.format(year, month, day)

    def _misdated(self, year: int, month: int, day: int) -> tuple[int, int, int]:
        rng = self._rng
        match rng.randrange(5):
            case 0:
                return year + rng.choice((-1, 1)), month, min(day, 28)
            case 1:
                return year + rng.choice((-10, 10)), month, min(day, 28)
            case 2:
                return year, rng.randint(1, 12), min(day, 28)
            case 3:
                turned = year // 100 * 100 + year % 10 * 10 + year // 10 % 10
                return turned if turned < 2024 else year - 1, month, min(day, 28)
            case _:
                return year, month, rng.randint(1, 28)

    def _email(self, person: Person, now: int, home: Home) -> str:
        rng, world = self._rng, self._world
        email = person.emails[now]
        drawn = rng.random()
        if drawn < world.placeholder:
            return rng.choice(_NO_EMAILS)
        if drawn < world.family_email:
            email = home.email
        elif person.company and rng.random() < world.at_work:
            email = person.company.email if rng.random() < 0.3 else person.work_email
        local, _, domain = email.partition("@")
        if self._slips(world.typo):
            local = _typo(rng, local) if len(local) > 2 else local
        if self._slips(world.tagged):
            if domain == "gmail.com" and len(local) > 3 and rng.random() < 0.5:
                local = f"{local[:2]}.{local[2:].replace('.', '')}"
            else:
                local += rng.choice(("+news", "+shop", "+1"))
        email = f"{local}@{domain}" if domain else ""
        return rng.choice((email.upper(), email.title())) if self._slips(world.upper) else email

    def _phone(self, person: Person, now: int, home: Home) -> str:
        rng, world = self._rng, self._world
        number = person.mobiles[now]
        drawn = rng.random()
        if drawn < world.placeholder:
            return rng.choice(_NO_PHONES)
        if drawn < world.landline or not number:
            number = home.landline
        elif person.company and rng.random() < world.at_work:
            number = person.company.switchboard
        if self._slips(world.digit):
            number = _other_digit(rng, number)
        return _dialled(person.locale.dialling, number, rng.choice(world.phones))

    def _street(self, street: str) -> str:
        street = self._mistyped(self._plain(street))
        if self._rng.random() < self._world.shortened:
            for word, short in _SHORT_STREETS:
                if word in street and self._rng.random() < 0.7:
                    street = street.replace(word, short)
                    break
        return street.upper() if self._slips(self._world.upper) else street

    def _postcode(self, postcode: str) -> str:
        rng, world = self._rng, self._world
        if self._slips(world.digit):
            postcode = _other_digit(rng, postcode)
        if postcode[0] == "0" and self._slips(world.zero_lost):
            return postcode.lstrip("0")
        if self._slips(world.blanks):
            return postcode.replace(" ", "").replace("-", "")
        return postcode


def _typo(rng: Random, text: str) -> str:
    """Return a text with one slip of the hand, the eye or the ear."""
    drawn = rng.random()
    if drawn < 0.3:
        rules = _BY_EAR if drawn < 0.22 else _MISREAD
        found = [(old, new) for old, new in rules if old in text[1:]]
        if found:
            old, new = rng.choice(found)
            return text[0] + text[1:].replace(old, new, 1)
    at = rng.randrange(1, len(text))
    near = rng.choice(_BESIDE.get(text[at].lower()) or text)
    if drawn < 0.45:
        return text[:at] + near + text[at:]
    if drawn < 0.65:
        return text[:at] + text[at + 1 :]
    if drawn < 0.82:
        return text[:at] + near + text[at + 1 :]
    return text[: at - 1] + text[at] + text[at - 1] + text[at + 1 :]


def _other_digit(rng: Random, text: str) -> str:
    """Return a text with another digit somewhere, or with two digits that changed places."""
    places = [at for at, c in enumerate(text) if c.isdigit()]
    at = rng.choice(places[-5:])
    if rng.random() < 0.4 and at and text[at - 1].isdigit():
        return text[: at - 1] + text[at] + text[at - 1] + text[at + 1 :]
    return text[:at] + rng.choice("0123456789") + text[at + 1 :]


def _dialled(dialling: Dialling, number: str, form: str) -> str:
    """Return a number, grouped as within the country, as somebody writes it."""
    digits = number.replace(" ", "").replace("-", "")
    match form:
        case "plus":
            return f"+{dialling.code}{digits}"
        case "grouped":
            return f"+{dialling.code} {number}"
        case "bare":  # a spreadsheet took it for a number
            return dialling.code + digits
        case "zeros":
            return f"00{dialling.code}{digits}"
        case "dashed":
            return f"+{dialling.code}-{number.replace(' ', '-')}"
        case "dotted":
            return dialling.trunk + number.replace(" ", ".")
        case "slashed":
            return dialling.trunk + number.replace(" ", "/", 1).replace(" ", "")
    if dialling.code == "1":
        return f"({number[:3]}) {number[4:].replace(' ', '-')}"
    return dialling.trunk + number


# Files.


def rows(world: World, seed: int) -> Iterator[tuple[str, Row]]:
    """Yield rows with the id of whom they are of, home by home and without end."""
    clerk = Clerk(world, seed)
    for home in Population(world, seed).homes():
        for person in home:
            for _ in range(clerk.times()):
                yield person.id, clerk.row(person)


def shuffled(stream: Iterable[T], seed: int) -> Iterator[T]:
    """Yield what comes in another order, with no more than `SHUFFLED` of it in memory."""
    rng = Random(f"{seed}:order")
    source = iter(stream)
    pool = list(islice(source, SHUFFLED))
    for one in source:
        at = rng.randrange(SHUFFLED)
        yield pool[at]
        pool[at] = one
    rng.shuffle(pool)
    yield from pool


def write(world: World, count: int, seed: int, people: Path, truth: Path | None) -> None:
    """Write a file of people, and one that says which rows are of one person."""
    with (
        people.open("w", encoding="utf-8", newline="") as table,
        truth.open("w", encoding="utf-8", newline="") if truth else nullcontext() as clusters,
    ):
        person_rows = csv.writer(table, lineterminator="\n")
        person_rows.writerow(world.columns)
        cluster_rows = csv.writer(clusters, lineterminator="\n") if clusters else None
        if cluster_rows:
            cluster_rows.writerow(("record", "cluster"))
        drawn = shuffled(islice(rows(world, seed), count), seed)
        for number, (cluster, row) in enumerate(drawn, 1):
            row["id"] = f"R{number:07}"
            person_rows.writerow([row[column] for column in world.columns])
            if cluster_rows:
                cluster_rows.writerow((row["id"], cluster))


def main() -> None:
    """Write a made-up world of people."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.worlds", description=main.__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    about = "; ".join(f"{name}: {world.about}" for name, world in WORLDS.items())
    parser.add_argument("--world", choices=WORLDS, default="mixed", help=about)
    parser.add_argument("--output", type=Path, required=True, help="CSV of people")
    parser.add_argument("--truth", type=Path, help="CSV of records and the person each is of")
    options = parser.parse_args()
    write(WORLDS[options.world], options.rows, options.seed, options.output, options.truth)


if __name__ == "__main__":
    main()
