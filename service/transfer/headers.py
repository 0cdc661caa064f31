"""Headers that people give to columns, in English, German, French, Spanish, Portuguese and Russian.

Case, marks and punctuation do not count: they are compared as `words.plain` makes them.
"""

from __future__ import annotations

# Field: headers that mean it, beside the field's own name.
HEADERS = {
    "id": "customer id; client id; customer number; customer no; client number; account number; "
    "kundennummer; kunden id; kundennr; numero de client; id client; numero client; "
    "id de cliente; id cliente; numero de cliente; codigo de cliente; номер клиента; id клиента; "
    "код клиента; id do cliente; codigo do cliente; numero do cliente; rec id",
    "kind": "customer type; customer kind; client type; type; kundentyp; kundenart; "
    "type de client; tipo de cliente; тип; тип клиента; tipo",
    "state": "customer state; archived state; kundenstatus; etat; etat du client; "
    "estado del cliente; состояние; situacao",
    "title": "salutation; prefix; anrede; titel; civilite; titre; tratamiento; titulo; обращение; "
    "титул; tratamento; pronome de tratamento",
    "first_name": "given name; forename; firstname; vorname; rufname; prenom; nombre; "
    "nombre de pila; имя; nome; primeiro nome; nome proprio; fname",
    "middle_name": "middlename; middle initial; patronymic; second name; zweiter vorname; "
    "deuxieme prenom; second prenom; отчество; nome do meio; segundo nome; segundo nombre",
    "last_name": "surname; family name; lastname; nachname; familienname; zuname; nom; "
    "nom de famille; apellido; apellidos; primer apellido; фамилия; sobrenome; apelido; "
    "ultimo nome; nome de familia; lname",
    "full_name": "name; fullname; customer name; client name; nom complet; nom et prenom; "
    "nombre completo; nombre y apellidos; vollstandiger name; vor und nachname; kundenname; "
    "фио; полное имя; имя и фамилия; nome completo; nome e sobrenome",
    "gender": "sex; geschlecht; sexe; genre; sexo; genero; пол",
    "birth_date": "birthday; birthdate; date of birth; dob; geburtsdatum; geburtstag; geb datum; "
    "date de naissance; ne le; fecha de nacimiento; cumpleanos; дата рождения; день рождения; "
    "data de nascimento; nascimento; data nascimento",
    "company_name": "company; organisation; organization; account name; employer; business name; "
    "firma; firmenname; unternehmen; societe; entreprise; raison sociale; empresa; "
    "nombre de la empresa; razon social; компания; организация; фирма; название компании; "
    "nome da empresa; razao social; organizacao; companhia",
    "comment": "comments; note; notes; remark; remarks; description; bemerkung; bemerkungen; "
    "notiz; notizen; kommentar; anmerkung; commentaire; commentaires; remarque; comentario; "
    "comentarios; observaciones; nota; notas; комментарий; примечание; заметки; observacao; "
    "observacoes",
    "stage": "status; lead status; pipeline stage; phase; statut; etape; etapa; fase; estado lead; "
    "этап; стадия; статус",
    "owner": "responsible; account manager; account owner; sales rep; betreuer; "
    "kundenbetreuer; verantwortlich; zustandig; responsable; charge de clientele; "
    "propietario; ejecutivo; ответственный; менеджер; responsavel; gerente; proprietario",
    "email": "e mail; mail; email address; e mail address; emails; e mails; courriel; "
    "adresse email; adresse e mail; correo; correo electronico; e mail adresse; mailadresse; "
    "почта; электронная почта; емейл; эл почта; адрес электронной почты; correio eletronico; "
    "endereco de email; endereco de e mail; direccion de correo",
    "work_email": "business email; email work; geschaftliche e mail; e mail geschaftlich; "
    "email professionnel; courriel professionnel; correo de trabajo; email de trabajo; "
    "correo profesional; рабочая почта; рабочий email; email profissional; e mail profissional; "
    "email comercial; e mail comercial",
    "home_email": "private email; personal email; email home; private e mail; e mail privat; "
    "email personnel; courriel personnel; correo personal; email personal; личная почта; "
    "личный email; email pessoal; e mail pessoal",
    "phone": "phone number; telephone; tel; phones; telephone number; telefon; telefonnummer; "
    "rufnummer; numero de telephone; telefono; numero de telefono; телефон; номер телефона; тел; "
    "telefone; numero de telefone; fone",
    "mobile_phone": "mobile; mobile number; cell; cell phone; cellphone; handy; handynummer; "
    "mobil; mobiltelefon; mobilnummer; portable; telephone portable; telephone mobile; movil; "
    "celular; telefono movil; telefono celular; мобильный; мобильный телефон; сотовый; "
    "сотовый телефон; telemovel; telefone celular; telefone movel",
    "home_phone": "private phone; telefon privat; festnetz; telephone fixe; telephone domicile; "
    "fijo; telefono fijo; telefono de casa; домашний телефон; telefone residencial; telefone fixo",
    "work_phone": "business phone; phone work; direct phone; telefon geschaftlich; "
    "telephone professionnel; telephone bureau; telefono trabajo; telefono de trabajo; "
    "рабочий телефон; telefone comercial; telefone profissional; telefone do trabalho",
    "office_phone": "office; switchboard; zentrale; buro; bureau; standard telephonique; oficina; "
    "telefono de oficina; офис; телефон офиса; escritorio; telefone do escritorio",
    "fax_phone": "fax; fax number; faxnummer; telefax; telecopie; numero de fax; факс; номер факса",
    "street": "address; street address; address line; strasse; adresse; anschrift; rue; "
    "adresse postale; direccion; calle; domicilio; улица; адрес; street number; house number; "
    "hausnummer; endereco; morada; rua; logradouro",
    "city": "town; locality; ort; stadt; wohnort; ville; commune; ciudad; localidad; poblacion; "
    "город; населенный пункт; suburb; cidade; localidade; municipio",
    "postcode": "zip; zip code; postal code; post code; plz; postleitzahl; code postal; "
    "codigo postal; индекс; почтовый индекс; zipcode; cep",
    "area": "state province; province; region; administrative area; county; bundesland; "
    "departement; provincia; область; регион; estado; comunidad autonoma; край; provincia estado",
    "country": "country code; land; landercode; landerkennzeichen; pays; code pays; pais; "
    "codigo de pais; страна; код страны; codigo do pais",
    "tags": "tag; labels; label; schlagworte; schlagworter; etiquettes; etiquette; etiquetas; "
    "etiqueta; теги; тег; метки; marcadores",
    "sources": "source; lead source; quelle; herkunft; origine; provenance; origen; fuente; "
    "источник; origem; fonte",
    "campaigns": "campaign; kampagne; kampagnen; campagne; campagnes; campana; campanas; "
    "кампания; кампании; campanha; campanhas",
    "groups": "group; segment; gruppe; gruppen; groupe; groupes; grupo; grupos; группа; группы",
    "do_not_email": "email opt out; no email; keine e mails; ne pas envoyer d email; "
    "no enviar correo; не писать; nao enviar email",
    "do_not_call": "call opt out; no call; do not phone; nicht anrufen; keine anrufe; "
    "ne pas appeler; no llamar; не звонить; nao ligar; nao telefonar",
    "consent:email": "email consent; email opt in; newsletter consent; newsletter; "
    "einwilligung e mail; consentement email; consentimiento email; consentimiento correo; "
    "согласие на e mail; согласие на рассылку; consentimento email",
    "consent:call": "call consent; phone consent; einwilligung telefon; consentement telephone; "
    "consentimiento telefono; согласие на звонки; consentimento telefone",
    "consent:sms": "sms consent; sms opt in; einwilligung sms; consentement sms; "
    "consentimiento sms; согласие на sms; согласие на смс; consentimento sms",
    "consent:post": "post consent; mail consent; einwilligung post; consentement courrier; "
    "consentimiento postal; согласие на письма; consentimento correio",
    "contact:full_name": "contact name; contact person; primary contact; ansprechpartner; "
    "kontaktperson; personne de contact; nom du contact; interlocuteur; persona de contacto; "
    "nombre de contacto; контактное лицо; контактная особа; pessoa de contato; "
    "pessoa de contacto; nome do contato",
    "contact:first_name": "contact first name; vorname ansprechpartner; ansprechpartner vorname; "
    "prenom du contact; nombre del contacto; имя контакта; primeiro nome do contato",
    "contact:last_name": "contact last name; nachname ansprechpartner; ansprechpartner nachname; "
    "nom de famille du contact; apellido del contacto; фамилия контакта; sobrenome do contato",
    "contact:position": "contact position; job title; position; position ansprechpartner; "
    "funktion; fonction; poste; cargo; puesto; должность; funcao",
    "contact:email": "contact email; contact e mail; e mail ansprechpartner; "
    "ansprechpartner e mail; email du contact; correo del contacto; correo de contacto; "
    "email контакта; почта контакта; email do contato",
    "contact:phone": "contact phone; telefon ansprechpartner; ansprechpartner telefon; "
    "telephone du contact; telefono del contacto; telefono de contacto; телефон контакта; "
    "контактный телефон; telefone do contato; telefone de contato",
    "identity:passport": "passport; passport number; passport no; reisepass; reisepassnummer; "
    "passeport; numero de passeport; pasaporte; numero de pasaporte; паспорт; номер паспорта; "
    "passaporte; numero do passaporte",
    "identity:tax": "tax id; tax number; vat id; vat number; steuernummer; steuer id; ust id; "
    "numero fiscal; numero de tva; nif; numero de identificacion fiscal; инн; cpf; cnpj",
    "identity:loyalty": "loyalty; loyalty card; loyalty number; kundenkarte; carte de fidelite; "
    "tarjeta de fidelidad; карта лояльности; cartao de fidelidade",
    "identity:telegram": "telegram; telegram id; telegram username; телеграм; телеграмм",
    "identity:whatsapp": "whatsapp; whatsapp id; ватсап",
    "identity:viber": "viber; viber id; вайбер",
}
