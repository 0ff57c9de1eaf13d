"""Personal data is found, and what only looks like it is not."""

from __future__ import annotations

import pytest

from stages.score.personal_data import personal_data

FOUND = {
    "write to jane.doe+shop@mail.example.co.uk today": ["email"],
    "Contact: INFO@EXAMPLE.COM.": ["email"],
    "call +49 30 901820 for a visit": ["phone"],
    "Office +1 (415) 555-2671": ["phone"],
    "+441632960961": ["phone"],
    "0049 30 901820": ["phone"],
    "(212) 736-5000 plumber": ["phone"],
    "1-800-555-0199": ["phone"],
    "For sale. Tel: 020 7946 0958": ["phone"],
    "WhatsApp 0171 2345678": ["phone"],
    "Call us at 1300 975 707": ["phone"],
    "IBAN DE89 3704 0044 0532 0130 00 please": ["bank_account"],
    "GB82WEST12345698765432": ["bank_account"],
    "FR14 2004 1010 0505 0001 3M02 606": ["bank_account"],
    "DE89 3704 0044 0532 0130 00 PLEASE PAY NOW": ["bank_account"],
    "card 4111 1111 1111 1111 exp 12/27": ["card"],
    "5500-0000-0000-0004": ["card"],
    "amex 378282246310005": ["card"],
    "server at 203.0.114.7 down": ["ip_address"],
    "8.8.8.10": ["ip_address"],
    "2a00:1450:4001:82a::200e": ["ip_address"],
    "Tel. 01 23 45 67 89": ["phone"],
    "me@home.org or +33 1 23 45 67 89": ["email", "phone"],
}

NOT_PERSONAL = [
    "",
    "Berlin, 1999-2005",
    "1920x1080",
    "3840 x 2160 wallpaper 4k",
    "f/2.8 1/200s ISO 400",
    "$1,299.99 was $1,499.00",
    "€ 1.299.000",
    "ISBN 978-3-16-148410-0",
    "ISBN-10 0-306-40615-2",
    "9783161484100",
    "2023-01-15 12:30:45",
    "20230115_123045.jpg",
    "15.01.2023",
    "01/15/2023 to 02/20/2024",
    "IMG_20190812_184512.jpg",
    "IMG_4111111111111111.jpg",
    "model 4111111111111112",  # the check digit is wrong
    "4000 4000 4000 4000",
    "9999 8888 7777 6666",  # no network's prefix
    "version 10.0.19041.1",
    "Firmware v1.42.3.17",
    "section 1.2.3.4",
    "router at 192.168.178.1 and 127.0.0.1",
    "300.400.500.600",
    "12:30:45:00",
    "a photo by @jane_doe",
    "logo@2x.png",
    "price @ 20.00",
    "10,000+ likes and +100% more",
    "+5000 points",
    "Call of Duty 2 (2005)",
    "cell phone 1080 x 2400",
    "phone 12 2020 2021",
    "Call 2019 2020 2021",
    "Boeing 747-400, 1990-1995",
    "http://img.example.net/photos/003/115/487/hi-res.jpg?1366356347",
    "https://cdn.example.com/files/1/0012/8440/7394/products/212-555-0199.jpg",
    "GPS 52.520008, 13.404954",
    "52°31'12.0\"N 13°24'17.8\"E",
    "SKU 123-456-789-0",
    "DE89 road sign",
    "AB12 3456 7890 1234 5678 90",
    "DE89 3704 0044 0532 0130 01",  # remainder is not 1
    "EAN 4006381333931",
    "W 1234 x H 5678 x D 9012 mm",
    "1 2 3 4 5 6 7 8 9 10 11 12",
    "MP3 320kbps 44100 Hz",
    "std::vector abc::def",
    "ff:ee:dd:cc:bb:aa",  # a network card is no person's address
]


@pytest.mark.parametrize(("text", "kinds"), FOUND.items())
def test_is_found(text: str, kinds: list[str]) -> None:
    assert personal_data(text) == kinds


@pytest.mark.parametrize("text", NOT_PERSONAL)
def test_is_not_personal(text: str) -> None:
    assert personal_data(text) == []
