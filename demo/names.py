"""Common names, places and providers by country: typical, not a census."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Name = tuple[str, str]  # as written at home, and in Latin letters


@dataclass(frozen=True, slots=True)
class Country:
    """What people of a country are called and where they live."""

    code: str
    weight: int  # share of customers
    female: tuple[Name, ...]
    male: tuple[Name, ...]
    last: tuple[Name, ...]
    cities: tuple[tuple[str, str], ...]  # name, postcode in which "#" is any digit
    streets: tuple[str, ...]  # "{}" is the house number
    companies: tuple[str, ...]  # "{}" is a last name or a word
    company_domain: str  # the usual top-level domain
    providers: tuple[str, ...]  # where private people have their mail
    order: Literal["western", "eastern", "slavic"] = "western"


def _names(text: str) -> tuple[Name, ...]:
    """Read names; "native=Latin" where the script is not Latin, "_" for a space within one."""
    pairs = (word.replace("_", " ").partition("=") for word in text.split())
    return tuple((native, latin or native) for native, _, latin in pairs)


def _places(text: str) -> tuple[tuple[str, str], ...]:
    pairs = (entry.strip().rpartition("/") for entry in text.split(";"))
    return tuple((city, postcode) for city, _, postcode in pairs)


def _list(text: str) -> tuple[str, ...]:
    return tuple(entry.strip() for entry in text.split(";"))


_ENGLISH_FEMALE = _names(
    """
    Olivia Emma Charlotte Amelia Sophia Isabella Ava Mia Evelyn Harper Abigail Emily
    Elizabeth Sofia Ella Madison Scarlett Victoria Grace Chloe Penelope Riley Zoey Nora
    Hannah Lily Eleanor Lillian Addison Aubrey Stella Natalie Margaret Katherine Deborah
    Susan Patricia Linda Barbara Jennifer
    """
)
_ENGLISH_MALE = _names(
    """
    Liam Noah Oliver James Elijah William Henry Lucas Benjamin Theodore Mateo Levi
    Sebastian Daniel Jack Michael Alexander Owen Asher Samuel Ethan Leo Jackson Mason Ezra
    John Hudson Luca Aiden Joseph David Jacob Logan Luke Julian Gabriel Robert Richard
    Thomas Christopher Anthony
    """
)

COUNTRIES = (
    Country(
        "US",
        22,
        _ENGLISH_FEMALE,
        _ENGLISH_MALE,
        _names(
            """
            Smith Johnson Williams Brown Jones Garcia Miller Davis Rodriguez Martinez
            Hernandez Lopez Gonzalez Wilson Anderson Thomas Taylor Moore Jackson Martin Lee
            Perez Thompson White Harris Sanchez Clark Ramirez Lewis Robinson Walker Young
            Allen King Wright Scott Torres Nguyen Hill Flores Green Adams Nelson Baker Hall
            Rivera Campbell Mitchell Carter Roberts O'Brien Washington-Reed McAllister
            """
        ),
        _places(
            """
            New York/100##; Los Angeles/900##; Chicago/606##; Houston/770##; Phoenix/850##;
            Seattle/981##; Denver/802##; Austin/787##; Boston/021##; Portland/972##
            """
        ),
        _list(
            """
            {} Main St; {} Oak Avenue; {} Maple Drive, Apt 4; {} Park Blvd; {} Cedar Lane;
            {} Lakeview Rd; {} Washington Street; {} 5th Ave, Suite 210
            """
        ),
        _list(
            """
            {} & Sons LLC; {} Industries Inc.; {} Logistics; {} Dental Group;
            {} Hardware Co.; {} Media Partners; Blue {} Coffee
            """
        ),
        "com",
        _list("gmail.com; yahoo.com; outlook.com; hotmail.com; icloud.com; aol.com"),
    ),
    Country(
        "GB",
        10,
        _names(
            """
            Olivia Amelia Isla Ava Ivy Freya Lily Florence Mia Willow Rosie Sophia Isabella
            Grace Daisy Sienna Poppy Elsie Emily Ella Evelyn Phoebe Evie Charlotte Harper
            Millie Matilda Maya Sophie Alice Gemma Fiona Niamh Siobhán
            """
        ),
        _names(
            """
            Oliver George Arthur Noah Muhammad Leo Oscar Harry Archie Jack Henry Charlie
            Freddie Theodore Alfie Jacob Thomas Finley Theo Isaac William James Edward
            Lucas Reuben Rory Callum Ewan Gareth Rhys Nigel Graham Alistair
            """
        ),
        _names(
            """
            Smith Jones Taylor Brown Williams Wilson Johnson Davies Patel Robinson Wright
            Thompson Evans Walker White Roberts Green Hall Wood Jackson Clarke Harrison
            Scott Cooper Ward Martin Hughes Edwards Turner Hill Morris Moore Clark Harris
            Lewis Baker Parker Allen Bennett Shah Begum MacDonald O'Neill Fletcher Ashworth
            Pemberton-Hale
            """
        ),
        _places(
            """
            London/SW#A #AA; Manchester/M# #BB; Birmingham/B# #QT; Leeds/LS# #HG;
            Glasgow/G# #XY; Edinburgh/EH# #DN; Bristol/BS# #RL; Cardiff/CF# #AB;
            Belfast/BT# #GS
            """
        ),
        _list(
            """
            {} High Street; Flat 2, {} Station Road; {} Church Lane; {} Victoria Road;
            {} The Green; {} Mill Close; {} Queensway; {} Kingsley Gardens
            """
        ),
        _list(
            """
            {} Ltd; {} & Co. Solicitors; {} Plumbing & Heating; {} Bakery; The {} Arms;
            {} Consulting Limited
            """
        ),
        "co.uk",
        _list(
            """
            gmail.com; hotmail.co.uk; btinternet.com; outlook.com; yahoo.co.uk; sky.com
            """
        ),
    ),
    Country(
        "DE",
        12,
        _names(
            """
            Emma Mia Sophia Hannah Emilia Lina Marie Lea Anna Leonie Clara Ella Luisa
            Amelie Johanna Charlotte Frieda Ida Katharina Sabine Petra Monika Ursula
            Claudia Renate Birgit Jörgine Käthe Gisela Heike Antje Anke Silke Bärbel Ayşe
            """
        ),
        _names(
            """
            Noah Leon Paul Ben Elias Finn Jonas Luis Felix Lukas Maximilian Henry Emil
            Anton Jakob Moritz Thomas Michael Andreas Stefan Jürgen Günter Wolfgang Klaus
            Uwe Bernd Jörg Björn Sönke Matthias Hans-Peter Karl-Heinz Mehmet Götz
            """
        ),
        _names(
            """
            Müller Schmidt Schneider Fischer Weber Meyer Wagner Becker Schulz Hoffmann
            Schäfer Koch Bauer Richter Klein Wolf Schröder Neumann Schwarz Zimmermann Braun
            Krüger Hofmann Hartmann Lange Schmitt Werner Krause Meier Lehmann Köhler
            Herrmann König Walter Mayer Huber Kaiser Fuchs Lang Weiß Jung Groß Yılmaz Böhm
            Lüdecke-Thoms von_Arnim Voß
            """
        ),
        _places(
            """
            Berlin/10###; Hamburg/20###; München/80###; Köln/50###; Frankfurt am Main/60###;
            Stuttgart/70###; Düsseldorf/40###; Leipzig/04###; Nürnberg/90###; Lübeck/23###
            """
        ),
        _list(
            """
            Hauptstraße {}; Bahnhofstr. {}; Gartenweg {}; Goethestraße {}a; Am Mühlbach {};
            Lindenallee {}; Schillerplatz {}; Königsweg {}
            """
        ),
        _list(
            """
            {} GmbH; {} & Söhne KG; Bäckerei {}; Autohaus {}; {} Maschinenbau AG;
            Steuerberatung {}
            """
        ),
        "de",
        _list("gmail.com; gmx.de; web.de; t-online.de; freenet.de; outlook.de"),
    ),
    Country(
        "FR",
        8,
        _names(
            """
            Jade Louise Emma Ambre Alice Rose Anna Alba Romy Mia Lina Léna Chloé Inès
            Agathe Juliette Manon Camille Zoé Éléonore Hélène Françoise Nathalie Isabelle
            Sylvie Catherine Monique Véronique Aurélie Céline Anne-Sophie Maëlys
            """
        ),
        _names(
            """
            Gabriel Léo Raphaël Louis Arthur Jules Adam Maël Hugo Lucas Noé Sacha Gabin
            Nathan Paul Théo Jean Pierre Michel Philippe Alain Nicolas Christophe François
            Frédéric Jérôme Stéphane Benoît Rémi Jean-Luc Étienne Loïc
            """
        ),
        _names(
            """
            Martin Bernard Thomas Petit Robert Richard Durand Dubois Moreau Laurent Simon
            Michel Lefèvre Leroy Roux David Bertrand Morel Fournier Girard Bonnet Dupont
            Lambert Fontaine Rousseau Vincent Müller Lefebvre Faure André Mercier Blanc
            Guérin Boyer Garnier Chevalier François Legrand Gauthier Garcia Perrin Benoît
            D'Almeida de_la_Tour
            """
        ),
        _places(
            """
            Paris/750##; Lyon/690##; Marseille/130##; Toulouse/310##; Nice/060##;
            Nantes/440##; Strasbourg/670##; Saint-Étienne/420##; Besançon/250##
            """
        ),
        _list(
            """
            {} rue de la République; {} bis avenue Victor Hugo; {} place de l'Église;
            {} chemin des Vignes; {} boulevard Saint-Michel; {} impasse du Moulin
            """
        ),
        _list(
            """
            {} SARL; Boulangerie {}; Cabinet {}; Transports {}; {} et Fils; Garage {}
            """
        ),
        "fr",
        _list(
            """
            gmail.com; orange.fr; free.fr; laposte.net; wanadoo.fr; hotmail.fr; sfr.fr
            """
        ),
    ),
    Country(
        "ES",
        6,
        _names(
            """
            Lucía Sofía Martina María Julia Paula Valeria Emma Daniela Carla Alba Noa Alma
            Sara Carmen Vega Lara Mía Valentina Olivia Claudia Jimena Lola Chloe Aitana
            Ángela Begoña Núria Rocío Maite Pilar
            """
        ),
        _names(
            """
            Martín Hugo Mateo Leo Lucas Manuel Alejandro Pablo Daniel Álvaro Adrián David
            Mario Enzo Diego Marcos Javier Marco Carlos Nicolás Sergio Jorge Antonio José
            Íñigo Jesús Ramón Andrés Joaquín Jordi Óscar
            """
        ),
        _names(
            """
            García Rodríguez González Fernández López Martínez Sánchez Pérez Gómez Martín
            Jiménez Ruiz Hernández Díaz Moreno Muñoz Álvarez Romero Alonso Gutiérrez
            Navarro Torres Domínguez Vázquez Ramos Gil Ramírez Serrano Blanco Molina
            Morales Suárez Ortega Delgado Castro Ortiz Rubio Marín Sanz Núñez Iglesias
            García_Lorca Peña de_la_Fuente
            """
        ),
        _places(
            """
            Madrid/280##; Barcelona/080##; Valencia/460##; Sevilla/410##; Zaragoza/500##;
            Málaga/290##; Bilbao/480##; A Coruña/150##
            """
        ),
        _list(
            """
            Calle Mayor, {}; Avda. de la Constitución {}; Plaza España {}, 2º B;
            C/ del Río {}; Paseo de Gracia {}; Camino Viejo {}
            """
        ),
        _list(
            """
            {} S.L.; Talleres {}; Panadería {}; Gestoría {}; Construcciones {} S.A.
            """
        ),
        "es",
        _list("gmail.com; hotmail.es; yahoo.es; telefonica.net; outlook.es"),
    ),
    Country(
        "IT",
        6,
        _names(
            """
            Sofia Aurora Giulia Ginevra Vittoria Beatrice Alice Ludovica Emma Matilde Anna
            Camilla Chiara Giorgia Bianca Nicole Greta Gaia Martina Azzurra Arianna Sara
            Noemi Isabel Rebecca Francesca Paola Silvia Elena Maria_Grazia Niccolina
            """
        ),
        _names(
            """
            Leonardo Francesco Alessandro Lorenzo Mattia Tommaso Gabriele Andrea Edoardo
            Riccardo Matteo Giuseppe Nicolò Diego Federico Antonio Giovanni Pietro Filippo
            Samuele Davide Luca Marco Simone Salvatore Paolo Giorgio Roberto Stefano Enzo
            Ruggero
            """
        ),
        _names(
            """
            Rossi Russo Ferrari Esposito Bianchi Romano Colombo Ricci Marino Greco Bruno
            Gallo Conti De_Luca Mancini Costa Giordano Rizzo Lombardi Moretti Barbieri
            Fontana Santoro Mariani Rinaldi Caruso Ferrara Galli Martini Leone Longo
            Gentile Martinelli Vitale Lombardo Serra Coppola De_Santis D'Angelo Marchetti
            Nicolò Dell'Orto
            """
        ),
        _places(
            """
            Roma/001##; Milano/201##; Napoli/801##; Torino/101##; Palermo/901##;
            Genova/161##; Bologna/401##; Forlì/471##
            """
        ),
        _list(
            """
            Via Roma {}; Corso Garibaldi {}; Piazza Dante {}; Viale della Libertà {};
            Via San Niccolò {}/A; Vicolo Stretto {}
            """
        ),
        _list("{} S.r.l.; Pasticceria {}; Fratelli {} S.p.A.; Studio {}; Officina {}"),
        "it",
        _list("gmail.com; libero.it; virgilio.it; alice.it; tiscali.it; hotmail.it"),
    ),
    Country(
        "RU",
        8,
        _names(
            """
            Анна=Anna Мария=Maria Елена=Elena Ольга=Olga Наталья=Natalya
            Екатерина=Ekaterina Татьяна=Tatyana Ирина=Irina Светлана=Svetlana Юлия=Yulia
            Анастасия=Anastasia Дарья=Darya Полина=Polina Ксения=Ksenia Виктория=Viktoria
            Алина=Alina Людмила=Lyudmila Галина=Galina Марина=Marina Валентина=Valentina
            Вера=Vera Надежда=Nadezhda Любовь=Lyubov София=Sofia Вероника=Veronika
            Алёна=Alyona Евгения=Evgenia Кристина=Kristina Лариса=Larisa
            Маргарита=Margarita Диана=Diana
            """
        ),
        _names(
            """
            Александр=Alexander Сергей=Sergey Дмитрий=Dmitry Андрей=Andrey Алексей=Alexey
            Максим=Maxim Евгений=Evgeny Иван=Ivan Михаил=Mikhail Артём=Artyom
            Николай=Nikolay Владимир=Vladimir Павел=Pavel Роман=Roman Денис=Denis Олег=Oleg
            Игорь=Igor Юрий=Yuri Виктор=Viktor Кирилл=Kirill Антон=Anton
            Константин=Konstantin Григорий=Grigory Борис=Boris Фёдор=Fyodor Тимофей=Timofey
            Егор=Egor Лев=Lev Илья=Ilya Никита=Nikita Вадим=Vadim
            """
        ),
        _names(
            """
            Иванов=Ivanov Смирнов=Smirnov Кузнецов=Kuznetsov Попов=Popov Васильев=Vasiliev
            Петров=Petrov Соколов=Sokolov Михайлов=Mikhailov Новиков=Novikov
            Фёдоров=Fyodorov Морозов=Morozov Волков=Volkov Алексеев=Alekseev
            Лебедев=Lebedev Семёнов=Semyonov Егоров=Egorov Павлов=Pavlov Козлов=Kozlov
            Степанов=Stepanov Николаев=Nikolaev Орлов=Orlov Андреев=Andreev Макаров=Makarov
            Никитин=Nikitin Захаров=Zakharov Зайцев=Zaitsev Соловьёв=Solovyov
            Борисов=Borisov Яковлев=Yakovlev Григорьев=Grigoriev Романов=Romanov
            Воробьёв=Vorobyov Сергеев=Sergeev Кузьмин=Kuzmin Фролов=Frolov
            Александров=Alexandrov Дмитриев=Dmitriev Королёв=Korolyov Гусев=Gusev
            Киселёв=Kiselyov Ильин=Ilyin Шевченко=Shevchenko Щербаков=Shcherbakov
            """
        ),
        _places(
            """
            Москва/10####; Санкт-Петербург/19####; Новосибирск/63####; Екатеринбург/62####;
            Казань/42####; Нижний Новгород/60####; Самара/44####; Уфа/45####
            """
        ),
        _list(
            """
            ул. Ленина, д. {}; пр-т Мира, {}, кв. 17; ул. Садовая, д. {}, корп. 2;
            Невский проспект, {}; наб. реки Фонтанки, д. {}; ул. Гагарина, {}
            """
        ),
        _list("ООО «{}»; АО «{}»; ИП {}; Торговый дом «{}»; Клиника доктора {}"),
        "ru",
        _list("mail.ru; yandex.ru; gmail.com; bk.ru; inbox.ru; list.ru; rambler.ru"),
        "slavic",
    ),
    Country(
        "UA",
        2,
        _names(
            """
            Олена=Olena Оксана=Oksana Наталія=Nataliia Ірина=Iryna Юлія=Yuliia
            Катерина=Kateryna Марія=Mariia Софія=Sofiia Ганна=Hanna Соломія=Solomiia
            Людмила=Liudmyla Галина=Halyna
            """
        ),
        _names(
            """
            Олександр=Oleksandr Андрій=Andrii Сергій=Serhii Володимир=Volodymyr
            Дмитро=Dmytro Іван=Ivan Юрій=Yurii Микола=Mykola Тарас=Taras Богдан=Bohdan
            Максим=Maksym Євген=Yevhen
            """
        ),
        _names(
            """
            Мельник=Melnyk Шевченко=Shevchenko Бойко=Boiko Коваленко=Kovalenko
            Бондаренко=Bondarenko Ткаченко=Tkachenko Ковальчук=Kovalchuk
            Кравченко=Kravchenko Олійник=Oliinyk Шевчук=Shevchuk Коваль=Koval
            Поліщук=Polishchuk Лисенко=Lysenko Марченко=Marchenko Ґудзь=Gudz Їжак=Yizhak
            """
        ),
        _places("Київ/0####; Львів/79###; Харків/61###; Одеса/65###; Дніпро/49###"),
        _list(
            """
            вул. Хрещатик, {}; вул. Шевченка, буд. {}; просп. Свободи, {}; вул. Франка, {}
            """
        ),
        _list("ТОВ «{}»; ФОП {}; Кав'ярня «{}»"),
        "ua",
        _list("gmail.com; ukr.net; i.ua; meta.ua"),
    ),
    Country(
        "BR",
        6,
        _names(
            """
            Helena Alice Laura Maria_Alice Sophia Manuela Maitê Liz Cecília Isabella Luísa
            Eloá Heloísa Júlia Ayla Maria_Luísa Isis Elisa Antonella Valentina Maya
            Maria_Júlia Aurora Lara Mariana Beatriz Fernanda Camila Conceição Patrícia
            Luciana
            """
        ),
        _names(
            """
            Miguel Arthur Gael Théo Heitor Ravi Davi Bernardo Noah Gabriel Samuel Pedro
            Anthony Isaac Benício Benjamin Matheus Lucas Joaquim Nicolas Lucca Lorenzo
            Henrique João_Miguel Rafael Henry Murilo Levi João_Pedro Antônio Thiago
            """
        ),
        _names(
            """
            Silva Santos Oliveira Souza Rodrigues Ferreira Alves Pereira Lima Gomes Costa
            Ribeiro Martins Carvalho Almeida Lopes Soares Fernandes Vieira Barbosa Rocha
            Dias Nascimento Andrade Moreira Nunes Marques Machado Mendes Freitas Cardoso
            Ramos Gonçalves Santana Teixeira Araújo Pinto Correia Moura Conceição da_Silva
            dos_Santos Magalhães
            """
        ),
        _places(
            """
            São Paulo/01###-###; Rio de Janeiro/20###-###; Belo Horizonte/30###-###;
            Brasília/70###-###; Curitiba/80###-###; Florianópolis/88###-###
            """
        ),
        _list(
            """
            Rua das Flores, {}; Av. Paulista, {} - conj. 52; Rua XV de Novembro, {};
            Travessa do Comércio, {}; Alameda Santos, {}
            """
        ),
        _list(
            """
            {} Ltda.; Padaria {}; Construtora {} S.A.; Farmácia {}; {} Comércio e Serviços
            """
        ),
        "com.br",
        _list(
            """
            gmail.com; hotmail.com; uol.com.br; bol.com.br; yahoo.com.br; terra.com.br
            """
        ),
    ),
    Country(
        "MX",
        4,
        _names(
            """
            Sofía Valentina Regina María_José Ximena Camila Renata Valeria Victoria
            Isabella Natalia Daniela Guadalupe Fernanda Andrea Mariana Alejandra Gabriela
            Verónica Leticia Rosa_María Adriana Patricia Itzel Citlali Xóchitl Monserrat
            Araceli Esperanza Yolanda
            """
        ),
        _names(
            """
            Santiago Mateo Sebastián Leonardo Emiliano Diego Miguel_Ángel Daniel Matías
            Alexander Alejandro Jesús José_Luis Juan_Carlos Francisco Javier Ricardo
            Eduardo Fernando Rodrigo Cuauhtémoc Héctor Raúl Rubén Arturo Ernesto Ignacio
            Gerardo Roberto Iván
            """
        ),
        _names(
            """
            Hernández García Martínez López González Pérez Rodríguez Sánchez Ramírez Cruz
            Flores Gómez Morales Vázquez Jiménez Reyes Díaz Torres Gutiérrez Ruiz Mendoza
            Aguilar Ortiz Moreno Castillo Romero Álvarez Méndez Chávez Rivera Juárez Ramos
            Domínguez Herrera Medina Castro Vargas Guzmán Velázquez Muñoz Rojas de_la_Cruz
            Contreras
            """
        ),
        _places(
            """
            Ciudad de México/06###; Guadalajara/44###; Monterrey/64###; Puebla/72###;
            Mérida/97###; Querétaro/76###; León/37###
            """
        ),
        _list(
            """
            Av. Reforma {}; Calle Hidalgo {}, Col. Centro; Av. Juárez {} Int. 3;
            Privada de los Pinos {}; Blvd. Díaz Ordaz {}
            """
        ),
        _list("{} S.A. de C.V.; Ferretería {}; Taquería {}; Grupo {}; Abarrotes {}"),
        "com.mx",
        _list("gmail.com; hotmail.com; yahoo.com.mx; prodigy.net.mx; outlook.com"),
    ),
    Country(
        "IN",
        6,
        _names(
            """
            Aadhya आराध्या=Aaradhya Ananya Diya Saanvi प्रिया=Priya Anjali पूजा=Pooja Kavya
            Neha सुनीता=Sunita Lakshmi Meera रेखा=Rekha Shreya Isha अंजलि=Anjali Divya
            Kiran Nandini Radha Sneha Tanvi Vidya सीता=Sita Deepika Gauri Jyoti
            कविता=Kavita Usha Rani
            """
        ),
        _names(
            """
            Aarav Vivaan आरव=Aarav Aditya Vihaan Arjun राहुल=Rahul Rohan Krishna Ishaan
            अमित=Amit Sanjay Rajesh राजेश=Rajesh Suresh Vijay Anil सुनील=Sunil Manoj Deepak
            Karthik Nikhil Pranav Ravi विकास=Vikas Siddharth Harish Gopal Mohammed Imran
            Gurpreet
            """
        ),
        _names(
            """
            Sharma शर्मा=Sharma Verma Gupta गुप्ता=Gupta Singh सिंह=Singh Kumar कुमार=Kumar
            Patel Reddy Rao Nair Iyer Iyengar Menon Pillai Mehta Shah Joshi जोशी=Joshi
            Desai Kulkarni Patil Chauhan Yadav यादव=Yadav Mishra Pandey Tiwari Agarwal
            Banerjee Mukherjee Chatterjee Das Bose Ghosh Khan Ansari Kaur Gill Bhatt Naidu
            Chowdhury Malhotra Kapoor
            """
        ),
        _places(
            """
            Mumbai/4000##; Delhi/1100##; Bengaluru/5600##; Hyderabad/5000##; Chennai/6000##;
            Kolkata/7000##; Pune/4110##; Jaipur/3020##
            """
        ),
        _list(
            """
            {}, MG Road; Flat {}, Shanti Apartments; {}/B, Nehru Nagar; Plot {}, Sector 15;
            House No. {}, Gandhi Marg
            """
        ),
        _list(
            """
            {} Traders Pvt. Ltd.; {} Textiles; {} & Brothers; {} Infotech; {} Sweets
            """
        ),
        "in",
        _list("gmail.com; rediffmail.com; yahoo.co.in; outlook.com; hotmail.com"),
    ),
    Country(
        "JP",
        4,
        _names(
            """
            陽葵=Himari 結菜=Yuina 莉子=Riko 芽依=Mei 紬=Tsumugi 葵=Aoi 陽菜=Hina 凛=Rin
            結愛=Yua 咲良=Sakura さくら=Sakura 美咲=Misaki 愛=Ai 花子=Hanako 恵子=Keiko
            幸子=Sachiko 和子=Kazuko 洋子=Yoko 由美=Yumi 直美=Naomi 真由美=Mayumi
            智子=Tomoko 裕子=Yuko 明美=Akemi 久美子=Kumiko 香織=Kaori 彩=Aya 麻衣=Mai
            舞=Mai 千尋=Chihiro 優花=Yuka
            """
        ),
        _names(
            """
            蓮=Ren 陽翔=Haruto 蒼=Aoi 湊=Minato 樹=Itsuki 大翔=Hiroto 悠真=Yuma 朝陽=Asahi
            律=Ritsu 颯=Hayate 太郎=Taro 一郎=Ichiro 健=Ken 誠=Makoto 浩=Hiroshi 隆=Takashi
            茂=Shigeru 博=Hiroshi 進=Susumu 勇=Isamu 和夫=Kazuo 大輔=Daisuke 翔太=Shota
            拓也=Takuya 健太=Kenta 直樹=Naoki 哲也=Tetsuya 達也=Tatsuya 学=Manabu 修=Osamu
            剛=Tsuyoshi
            """
        ),
        _names(
            """
            佐藤=Sato 鈴木=Suzuki 高橋=Takahashi 田中=Tanaka 伊藤=Ito 渡辺=Watanabe
            山本=Yamamoto 中村=Nakamura 小林=Kobayashi 加藤=Kato 吉田=Yoshida 山田=Yamada
            佐々木=Sasaki 山口=Yamaguchi 松本=Matsumoto 井上=Inoue 木村=Kimura 林=Hayashi
            斎藤=Saito 清水=Shimizu 山崎=Yamazaki 森=Mori 池田=Ikeda 橋本=Hashimoto
            阿部=Abe 石川=Ishikawa 山下=Yamashita 中島=Nakajima 石井=Ishii 小川=Ogawa
            前田=Maeda 岡田=Okada 長谷川=Hasegawa 藤田=Fujita 後藤=Goto 近藤=Kondo
            村上=Murakami 遠藤=Endo 青木=Aoki 坂本=Sakamoto 福田=Fukuda 太田=Ota
            西村=Nishimura
            """
        ),
        _places(
            """
            東京都千代田区/100-00##; 大阪市北区/530-00##; 京都市中京区/604-80##;
            札幌市中央区/060-00##; 福岡市博多区/812-00##; 横浜市西区/220-00##
            """
        ),
        _list("丸の内1丁目{}番地; 梅田{}-2-1; 本町通{}; 桜町{}-5; 中央区銀座{}丁目"),
        _list("株式会社{}; {}商店; {}工業株式会社; 有限会社{}; {}医院"),
        "co.jp",
        _list("gmail.com; yahoo.co.jp; docomo.ne.jp; ezweb.ne.jp; icloud.com"),
        "eastern",
    ),
    Country(
        "CN",
        4,
        _names(
            """
            芳=Fang 娜=Na 秀英=Xiuying 敏=Min 静=Jing 丽=Li 艳=Yan 娟=Juan 霞=Xia 燕=Yan
            玲=Ling 桂英=Guiying 丹=Dan 萍=Ping 红=Hong 玉兰=Yulan 雪=Xue 梅=Mei 婷=Ting
            慧=Hui 莹=Ying 欣怡=Xinyi 诗涵=Shihan 梓涵=Zihan 雨桐=Yutong 佳怡=Jiayi
            晓燕=Xiaoyan 倩=Qian 琳=Lin 洁=Jie
            """
        ),
        _names(
            """
            伟=Wei 强=Qiang 磊=Lei 军=Jun 洋=Yang 勇=Yong 杰=Jie 涛=Tao 超=Chao 明=Ming
            刚=Gang 平=Ping 辉=Hui 鹏=Peng 华=Hua 飞=Fei 鑫=Xin 波=Bo 斌=Bin 宇=Yu
            浩然=Haoran 子轩=Zixuan 宇航=Yuhang 建国=Jianguo 志强=Zhiqiang 建华=Jianhua
            文=Wen 凯=Kai 博=Bo 俊杰=Junjie
            """
        ),
        _names(
            """
            王=Wang 李=Li 张=Zhang 刘=Liu 陈=Chen 杨=Yang 黄=Huang 赵=Zhao 吴=Wu 周=Zhou
            徐=Xu 孙=Sun 马=Ma 朱=Zhu 胡=Hu 郭=Guo 何=He 林=Lin 罗=Luo 高=Gao 郑=Zheng
            梁=Liang 谢=Xie 宋=Song 唐=Tang 许=Xu 韩=Han 邓=Deng 冯=Feng 曹=Cao 彭=Peng
            曾=Zeng 肖=Xiao 田=Tian 董=Dong 潘=Pan 袁=Yuan 蔡=Cai 蒋=Jiang 余=Yu 于=Yu
            欧阳=Ouyang 司马=Sima
            """
        ),
        _places(
            """
            北京市/1000##; 上海市/2000##; 广州市/5100##; 深圳市/5180##; 成都市/6100##;
            杭州市/3100##
            """
        ),
        _list("中山路{}号; 人民大街{}号; 解放路{}号3单元; 建设路{}号; 和平里{}号楼"),
        _list("{}科技有限公司; {}贸易有限公司; {}餐饮管理公司; {}制造集团"),
        "cn",
        _list("qq.com; 163.com; 126.com; sina.com; foxmail.com; gmail.com"),
        "eastern",
    ),
    Country(
        "GR",
        2,
        _names(
            """
            Μαρία=Maria Ελένη=Eleni Αικατερίνη=Aikaterini Βασιλική=Vasiliki Σοφία=Sofia
            Γεωργία=Georgia Αγγελική=Angeliki Δήμητρα=Dimitra Ιωάννα=Ioanna
            Παναγιώτα=Panagiota Χριστίνα=Christina Ευαγγελία=Evangelia
            """
        ),
        _names(
            """
            Γεώργιος=Georgios Δημήτριος=Dimitrios Κωνσταντίνος=Konstantinos Ιωάννης=Ioannis
            Νικόλαος=Nikolaos Χρήστος=Christos Παναγιώτης=Panagiotis Βασίλειος=Vasileios
            Αθανάσιος=Athanasios Μιχαήλ=Michail Σπυρίδων=Spyridon Θεόδωρος=Theodoros
            """
        ),
        _names(
            """
            Παπαδάκη=Papadaki Γεωργίου=Georgiou Οικονόμου=Oikonomou Αθανασίου=Athanasiou
            Δημητρίου=Dimitriou Ιωάννου=Ioannou Παπαγεωργίου=Papageorgiou
            Κωνσταντίνου=Konstantinou Νικολάου=Nikolaou Αντωνίου=Antoniou
            Βασιλείου=Vasileiou Παπαϊωάννου=Papaioannou Χατζή=Chatzi Αλεξίου=Alexiou
            Μιχαήλ=Michail Ζαχαρίου=Zachariou
            """
        ),
        _places(
            """
            Αθήνα/10# ##; Θεσσαλονίκη/54# ##; Πάτρα/26# ##; Ηράκλειο/71# ##; Λάρισα/41# ##
            """
        ),
        _list("Ερμού {}; Λεωφόρος Κηφισίας {}; Αγίου Δημητρίου {}; Πατησίων {}"),
        _list("{} Α.Ε.; Φούρνος {}; {} & Υιοί Ο.Ε."),
        "gr",
        _list("gmail.com; yahoo.gr; hotmail.gr; otenet.gr"),
    ),
    Country(
        "EG",
        2,
        _names(
            """
            فاطمة=Fatma مريم=Mariam نور=Nour سارة=Sara هبة=Heba منى=Mona ياسمين=Yasmin
            أمل=Amal آية=Aya دينا=Dina ريهام=Reham سلمى=Salma
            """
        ),
        _names(
            """
            محمد=Mohamed أحمد=Ahmed محمود=Mahmoud مصطفى=Mostafa علي=Ali عمر=Omar
            يوسف=Youssef إبراهيم=Ibrahim خالد=Khaled حسن=Hassan طارق=Tarek كريم=Karim
            """
        ),
        _names(
            """
            حسن=Hassan علي=Ali إبراهيم=Ibrahim السيد=Elsayed محمود=Mahmoud
            عبد_الله=Abdallah عبد_الرحمن=Abdelrahman خليل=Khalil منصور=Mansour
            سليمان=Soliman فاروق=Farouk الشافعي=Elshafei نجيب=Naguib مرسي=Morsi
            شاهين=Shahin زكي=Zaki
            """
        ),
        _places("القاهرة/11###; الإسكندرية/21###; الجيزة/12###; أسوان/81###"),
        _list("{} شارع التحرير; {} شارع النيل; {} ميدان رمسيس; {} شارع الهرم"),
        _list("شركة {} للتجارة; مخبز {}; صيدلية {}"),
        "com.eg",
        _list("gmail.com; hotmail.com; yahoo.com; outlook.com"),
    ),
    Country(
        "PL",
        3,
        _names(
            """
            Zuzanna Julia Zofia Maja Hanna Lena Alicja Maria Oliwia Laura Agnieszka
            Małgorzata Katarzyna Barbara Krystyna Ewa Elżbieta Bożena Wiesława Żaneta
            """
        ),
        _names(
            """
            Antoni Jan Aleksander Franciszek Nikodem Leon Stanisław Jakub Mikołaj Paweł
            Piotr Krzysztof Andrzej Tomasz Michał Łukasz Grzegorz Wojciech Zbigniew
            Świętosław
            """
        ),
        _names(
            """
            Nowak Kowalczyk Woźniak Mazur Krawczyk Kaczmarek Zając Król Wieczorek Wróbel
            Jabłoń Dudek Pawlak Stępień Adamczyk Gołąb Sikora Baran Michalak Szewczyk
            Pietrzak Wójcik Łuczak Żak
            """
        ),
        _places(
            """
            Warszawa/00-###; Kraków/30-###; Łódź/90-###; Wrocław/50-###; Gdańsk/80-###
            """
        ),
        _list(
            """
            ul. Długa {}; ul. Mickiewicza {}/4; al. Jana Pawła II {}; os. Słoneczne {}
            """
        ),
        _list("{} Sp. z o.o.; Piekarnia {}; {} S.A.; Zakład Ślusarski {}"),
        "pl",
        _list("gmail.com; wp.pl; o2.pl; onet.pl; interia.pl"),
    ),
)
